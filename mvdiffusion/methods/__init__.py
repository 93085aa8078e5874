"""Methods that turn a task's input into views: MVDiffusion, and what it is compared with.

A method is a file: its declaration `METHOD` and one function per task (`panorama`, `outpaint`,
`depth`) of a `base.Batch`, and a settings class if it has numbers of its own. An entry point of the
group `mvdiffusion.methods` registers it, in pyproject.toml for the methods here, in that of another
package for its own:

```toml
[project.entry-points."mvdiffusion.methods"]
mine = "my_package.mine:METHOD"
```

Tables, commands and the workflow import the file to read the declaration, so it imports PyTorch,
pipelines and their like only in its functions.
"""

from mvdiffusion.methods.declaration import Method as Method
from mvdiffusion.methods.declaration import Training as Training
