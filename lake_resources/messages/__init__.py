"""Messages to people: the webhook, and those that wait for it."""
