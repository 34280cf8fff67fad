"""`perdure eval persona`: does a persona hold, however long the chat has become?"""
