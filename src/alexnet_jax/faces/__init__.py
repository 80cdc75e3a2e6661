"""Verification and identification of faces on Labeled Faces in the Wild."""
