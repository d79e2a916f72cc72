"""The chat-completions dialect, pure: a row becomes a request, reply bytes become a reading.

`templates` renders, `messages` judges conversations that rows bring along, `request` builds and hashes
bodies, `reading` and `errors_said` make sense of whatever a server answers, `sse` (events), `sse_answer` and
`sse_choice` put streamed answers together, `labels` turns a list of allowed
words into a schema and answers back into words. No I/O, no clock, no randomness: the same row gives the same
bytes on every machine, because a request's hash decides whether its answer was already bought.
"""
