"""The one visual language: colours, type and shared parts of every page, picture and sheet that this package makes."""
