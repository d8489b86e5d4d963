"""The TypeScript kernel as a front end meets it: cells, results, errors, names, completion."""

from __future__ import annotations

import json

import nbformat
from jupyter_client import AsyncKernelManager, BlockingKernelClient
from nbclient import NotebookClient


def test_kernelspec(specs):
    spec = specs.get_kernel_spec("taskloom")
    assert spec.display_name == "TypeScript (Taskloom)"
    assert spec.language == "typescript"
    assert spec.interrupt_mode == "message"


def test_results_of_awaited_cells_are_never_lost(specs):
    cells = [
        nbformat.v4.new_code_cell(
            f"console.log('out {i}'); await new Promise(r => setTimeout(r, {i % 4})); {i} * 2"
        )
        for i in range(60)
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)

    manager = AsyncKernelManager(kernel_name="taskloom", kernel_spec_manager=specs)
    NotebookClient(notebook, km=manager, timeout=60).execute()
    for i, cell in enumerate(notebook.cells):
        kinds = [output.output_type for output in cell.outputs]
        assert kinds == ["stream", "execute_result"], i
        assert cell.outputs[0].text == f"out {i}\n"
        assert str(i * 2) in cell.outputs[1].data["text/plain"]
        assert cell.outputs[1].execution_count == i + 1


def test_last_words_come_before_the_end(kernel):
    for i in range(10):
        outcome = kernel.run(f"await 0; for (let k = 0; k < 50; k++) console.log('line', {i}, k);")
        assert outcome.stdout.count("\n") == 50


def test_types_and_redeclaration(kernel):
    assert kernel.run("const n: number = 41; interface A { b: string }").reply["status"] == "ok"
    assert "42" in kernel.run("n + 1").text
    assert "5" in kernel.run("const n = 5; n").text


def test_a_declaration_shows_nothing(kernel):
    outcome = kernel.run("const quiet = await Promise.resolve(1);")
    assert outcome.text is None


def test_rewriting_is_not_seen(kernel):
    outcome = kernel.run("await Promise.resolve(7)")
    assert "7" in outcome.text
    assert outcome.contents("execute_input")[0]["code"] == "await Promise.resolve(7)"


def test_error_of_a_cell(kernel):
    outcome = kernel.run(
        "class MyError extends Error { name = 'MyError' }; throw new MyError('no')"
    )
    assert outcome.reply["status"] == "error"
    (error,) = outcome.contents("error")
    assert (error["ename"], error["evalue"]) == ("MyError", "no")


def test_error_of_a_wait(kernel):
    outcome = kernel.run("await Promise.reject(new RangeError('far'))")
    (error,) = outcome.contents("error")
    assert (error["ename"], error["evalue"]) == ("RangeError", "far")


def test_syntax_error_says_where(kernel):
    outcome = kernel.run("const a = 1;\nconst b = = 2;")
    (error,) = outcome.contents("error")
    assert error["ename"] == "SyntaxError"
    assert any("2 | const b = = 2;" in line for line in error["traceback"])
    assert outcome.reply["ename"] == "SyntaxError"


def test_unclosed_bracket(kernel):
    (error,) = kernel.run("f(1,").contents("error")
    assert error["evalue"] == "Unexpected end of the cell"


def test_a_module_run_to_explain_an_error_does_nothing(kernel):
    outcome = kernel.run("globalThis.ran = (globalThis.ran ?? 0) + 1; let 1x")
    assert outcome.reply["ename"] == "SyntaxError"
    assert "undefined" in kernel.run("typeof globalThis.ran").text


def test_cells_behind_a_failed_one_do_not_run(kernel):
    first = kernel.send("await new Promise(r => setTimeout(r, 300)); throw new Error('stop')")
    second = kernel.send("console.log('ran')")
    assert kernel.outcome(first).reply["status"] == "error"
    outcome = kernel.outcome(second)
    assert outcome.reply["status"] == "aborted"
    assert outcome.stdout == ""


def test_errors_that_no_cell_waits_for_are_told(kernel):
    outcome = kernel.run(
        "setTimeout(() => { throw new Error('stray timer') }, 10);"
        "void Promise.reject(new Error('stray promise'));"
        "await new Promise(r => setTimeout(r, 200)); 1"
    )
    assert "stray timer" in outcome.stderr
    assert "stray promise" in outcome.stderr
    assert "1" in outcome.text


def test_taskloom_is_there_without_set_up(kernel):
    outcome = kernel.run(
        "import { Client, progress } from 'taskloom'; [typeof Client, typeof progress]"
    )
    assert outcome.reply["status"] == "ok", outcome.reply
    assert outcome.text.count("function") == 2


def test_imports_are_recorded(kernel):
    kernel.run("import { join } from 'node:path'; await import('node:os'); join('a', 'b')")
    outcome = kernel.run(
        "console.log(JSON.stringify([...globalThis[Symbol.for('taskloom.imports')]]))"
    )
    imports = dict(json.loads(outcome.stdout))
    assert imports["node:path"] == "node:path"
    assert imports["node:os"] == "node:os"


def test_cell_identity(kernel):
    code = "console.log(JSON.stringify(globalThis[Symbol.for('taskloom.cell')]))"
    for name in ("cell-a", "cell-b"):
        assert json.loads(kernel.run(code, cell_id=name).stdout)["cellId"] == name


def test_environment(kernel):
    outcome = kernel.run(
        "console.log(Deno.env.get('TASKLOOM_KERNEL'), Deno.env.get('TASKLOOM_NODE'))"
    )
    kind, node = outcome.stdout.split()
    assert kind == "typescript"
    assert node.endswith("node")


def test_display_and_update(kernel):
    outcome = kernel.run(
        "await Deno.jupyter.broadcast('display_data', {data: {'text/plain': 'one'}, metadata: {},"
        " transient: {display_id: 'd'}});"
        "await Deno.jupyter.broadcast('update_display_data', {data: {'text/plain': 'two'},"
        " metadata: {}, transient: {display_id: 'd'}});"
    )
    assert outcome.contents("display_data")[0]["data"]["text/plain"] == "one"
    assert outcome.contents("update_display_data")[0]["data"]["text/plain"] == "two"


def test_silent_cells_do_not_count(kernel):
    before = kernel.run("1").reply["execution_count"]
    kernel.run("2", silent=True, store_history=False)
    assert kernel.run("3").reply["execution_count"] == before + 1


def test_completion(kernel):
    kernel.run("const longNamedThing = { inner: 1 }; const plain = 5")
    kernel.client.complete("longNam")
    reply = kernel.client.get_shell_msg(timeout=10)["content"]
    assert "longNamedThing" in reply["matches"]
    kernel.client.complete("longNamedThing.inn")
    reply = kernel.client.get_shell_msg(timeout=10)["content"]
    assert (reply["matches"], reply["cursor_start"]) == (["inner"], len("longNamedThing."))
    # Deno itself never answers this one.
    kernel.client.complete("plain.")
    assert kernel.client.get_shell_msg(timeout=10)["content"]["matches"] == []


def test_inspection_and_completeness_are_answered(kernel):
    kernel.client.inspect("console")
    assert kernel.client.get_shell_msg(timeout=10)["content"]["status"] == "ok"
    kernel.client.is_complete("f(")
    assert kernel.client.get_shell_msg(timeout=10)["content"]["status"] == "incomplete"


def test_prompt(kernel):
    message_id = kernel.send("prompt('Your name?')")
    request = kernel.client.get_stdin_msg(timeout=20)
    assert "Your name?" in request["content"]["prompt"]
    kernel.client.input("Ada")
    assert "Ada" in kernel.outcome(message_id).text


def test_messages_of_a_wrong_key_are_dropped(kernel):
    stranger = BlockingKernelClient()
    info = kernel.client.get_connection_info()
    stranger.load_connection_info({**info, "key": b"another"})
    stranger.start_channels()
    stranger.execute("globalThis.broken = 1")
    assert "undefined" in kernel.run("typeof globalThis.broken").text
    stranger.stop_channels()


def test_many_outputs_keep_their_order(kernel):
    outcome = kernel.run("for (let i = 0; i < 500; i++) console.log(`${i}`); 'end'")
    assert outcome.stdout.split() == [str(i) for i in range(500)]
    assert outcome.outputs[-1]["msg_type"] == "execute_result"
