"""Makes values of every kind that the corpus labels, from the public definition of each number.

Nothing here is anybody's: digits are drawn by a seeded generator and only their check digits are computed. Each maker
takes the generator and the name of a way to write the value, and gives the value as text.
"""

from makers.identities import *  # noqa: F403
from makers.machines import *  # noqa: F403
from makers.money import *  # noqa: F403
from makers.people import *  # noqa: F403
