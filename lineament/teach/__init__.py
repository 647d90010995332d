"""Own attributes from a few photos: fit, judge, file. Imports no torch."""
