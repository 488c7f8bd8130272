"""What the commands print: tables for people, JSON for programs. A module a group of commands."""
