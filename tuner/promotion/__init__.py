"""From challenger to champion: the gates, the change of champion, and the way back."""
