"""Reply selection in conversations: choose the next reply, or hand over to a human."""
