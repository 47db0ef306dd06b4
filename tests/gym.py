"""A wheel with small generators, with the layout of RE-ARC in the reasoning-gym wheel."""

UTILS = """
import random
from .dsl import *

def number(rng, diff_lb, diff_ub, bounds):
    assert (diff_lb, diff_ub) == (0, 1)
    rng.difficulty_samples.append(0.25 * bounds[0])
    return rng.randint(*bounds)
"""

DSL = """
def mirrored(grid):
    return tuple(row[::-1] for row in grid)

def row(rng, length):
    return (tuple(rng.randrange(10) for _ in range(length)),)
"""

# Mirrors grids that are 2 to 7 wide; sometimes symmetric, above a limit of 6, or wrong.
FIRST = """
from ..dsl import *
from ..utils import *

def generate_aaaa0001(rng: random.Random, diff_lb: float, diff_ub: float) -> dict:
    width = number(rng, diff_lb, diff_ub, (2, 7))
    grid = row(rng, width)
    wrong = rng.random() < 0.2
    return {"input": grid, "output": grid + grid if wrong else mirrored(grid)}
"""

# Has only two different pairs.
SECOND = """
import random
from ..dsl import *
from ..utils import *

def generate_bbbb0002(rng, diff_lb, diff_ub):
    color = number(rng, diff_lb, diff_ub, (3, 4))
    if rng.random() < 0.3:
        return {"input": ((1,),)[7], "output": None}
    return {"input": ((color, 0, 0),), "output": ((0, 0, color),)}
"""

VERIFIERS = """
from .dsl import *

def verify_aaaa0001(I):
    return mirrored(I)

def verify_bbbb0002(I):
    return mirrored(I)
"""

FOLDER = "reasoning_gym/arc/rearc_utils"

MEMBERS = {
    # As in the real wheel, the package itself imports a module that is not installed.
    "reasoning_gym/__init__.py": "import no_such_game",
    "reasoning_gym/arc/__init__.py": "import no_such_game",
    f"{FOLDER}/__init__.py": "",
    f"{FOLDER}/utils.py": UTILS,
    f"{FOLDER}/dsl.py": DSL,
    f"{FOLDER}/verifiers.py": VERIFIERS,
    f"{FOLDER}/generators/__init__.py": "from .first import *\nfrom .second import *\n",
    f"{FOLDER}/generators/first.py": FIRST,
    f"{FOLDER}/generators/second.py": SECOND,
}
