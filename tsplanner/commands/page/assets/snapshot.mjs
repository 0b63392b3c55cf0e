// node snapshot.mjs PYODIDE ANSWERS OUTPUT [LIBRARY]
// Starts Python from the folder PYODIDE, unpacks the zip ANSWERS, lets it answer, and writes to OUTPUT
// the memory (memory.bin) and the files of the standard library that were imported (imported.json).
import fs from "node:fs";
import path from "node:path";

import { pathToFileURL } from "node:url";

process.on("uncaughtException", error => {
  console.error(String(error.message || error).trim());
  process.exit(1);
});
const [folder, answers, output, library] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(path.join(folder, "pyodide.mjs")));
const python = await loadPyodide({
  indexURL: folder,
  ...(library ? { stdLibURL: library } : {}),
  env: { HOME: "/home/pyodide", PYTHONHASHSEED: "0" },
  _makeSnapshot: true,
});
python.FS.mkdirTree("/answers");
python.unpackArchive(new Uint8Array(fs.readFileSync(answers)), "zip", { extractDir: "/answers" });
const imported = python.runPython(`
import gc, json, sys
sys.path.insert(0, "/answers")
sys.dont_write_bytecode = True
from tsplanner.commands.page.answer import answered, warm
warm()
places = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
found = [place.origin for place in places if place is not None and place.origin and ".zip/" in place.origin]
gc.collect()
json.dumps(sorted(found))
`);
fs.writeFileSync(path.join(output, "imported.json"), imported);
fs.writeFileSync(path.join(output, "memory.bin"), python.makeMemorySnapshot());
