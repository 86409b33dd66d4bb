"""Judges what is on record: tables in, tables out."""
