"""Paths in buckets of Google Cloud Storage, and what they need beyond a disk."""
