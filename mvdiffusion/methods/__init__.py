"""Methods that turn a task's input into views: MVDiffusion, and what it is compared with.

A method is a file here, with one function per task (`panorama`, `outpaint`, `depth`), and one
entry of `registry.METHODS`. Another package adds a method by an entry point of the group
`mvdiffusion.methods`. Its name is the method's, and it points to a `registry.Method`:

```toml
[project.entry-points."mvdiffusion.methods"]
mine = "my_package:METHOD"
```
"""
