"""`upstream_matrix` over stdio, as a path that can be run in any folder and with any environment."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    from tests.harness.upstream_matrix import main

    sys.argv += ["--transport", "stdio"]
    main()
