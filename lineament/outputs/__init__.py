"""Where reports go: JSONL, JSON, CSV, Parquet, annotated photos and crops."""
