"""A comment changes nothing, a formula changes exactly the stages that reach it."""

import pytest

from cryoclarity.workflow.code_hash import code_hash, reachable_modules, syntax_digest


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "src" / "cryoclarity"
    (folder / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "sub/__init__.py": "",
        "a.py": "from cryoclarity.sub import b\n\n\ndef f():\n    return b.x\n",
        "sub/b.py": '"""Doc."""\nx = 1\n',
        "c.py": "y = 2\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    script = tmp_path / "script.py"
    script.write_text("def run():\n    from cryoclarity.a import f\n\n    return f()\n")

    def rewrite(name, text):
        (folder / name).write_text(text)
        syntax_digest.cache_clear()
        return code_hash(script, folder)

    return script, folder, rewrite


def test_imports_are_followed_also_inside_functions(package):
    script, folder, _ = package
    assert reachable_modules(script, folder) == [
        "cryoclarity.a",
        "cryoclarity.sub",
        "cryoclarity.sub.b",
    ]
    assert "cryoclarity.c" in reachable_modules(script, folder, ("cryoclarity.c",))


def test_comments_docstrings_and_blank_lines_change_nothing(package):
    script, folder, rewrite = package
    before = code_hash(script, folder)
    assert rewrite("sub/b.py", '"""Other."""\n\n# why\nx = 1\n') == before


def test_a_statement_changes_the_hash_and_an_unreached_module_does_not(package):
    script, folder, rewrite = package
    before = code_hash(script, folder)
    assert rewrite("c.py", "y = 3\n") == before
    assert rewrite("sub/b.py", "x = 2\n") != before
