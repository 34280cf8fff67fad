"""`perdure eval recall`: does recall find the turns that a question is about?"""
