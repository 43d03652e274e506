"""Tests of the lean runtime."""
