"""What rows cost: prices, and the cost of one reply. Unknown is None, never 0.

prices    rates of a model, and what a reply's usage costs at them
library   the built-in price list (genai-prices, imported when a price is first asked for)
book      which price holds for a reply: the job's own, the gateway's word, the list
estimate  what many rows come to, from what a few came to: intervals; `estimate_tokens` weighs a request unsent
cells     spending added up by day, model, outcome: priced like rows, and the month's forecast
"""
