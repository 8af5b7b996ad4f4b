"""Tests that hold a contract with something outside."""
