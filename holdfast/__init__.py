"""Holdfast: a dedicated installation you can prove."""
