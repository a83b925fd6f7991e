"""Tests of the selection core."""
