"""Makers: functions from random numbers and words to questions with one right answer each."""
