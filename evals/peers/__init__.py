"""Memories of other projects, given the same chats and asked for what they would send."""
