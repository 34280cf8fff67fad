"""Chats as files: what this project writes and reads, and the exports of other programs."""
