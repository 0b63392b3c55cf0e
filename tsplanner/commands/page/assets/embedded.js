"use strict";
// Python answers inside the page: the interpreter as WebAssembly, in a worker, with its memory as it
// was after all modules had been imported. No request leaves the page.
const engine = (() => {
  const WORKER = `
    let python;
    self.onmessage = async ({ data }) => {
      try {
        if (data.start) {
          const files = data.start, own = self.fetch;
          self.fetch = async (address, more) => {
            const name = String(address.url || address);
            if (name.endsWith(".wasm")) return new Response(files.wasm, { headers: { "Content-Type": "application/wasm" } });
            if (name.endsWith(".zip")) return new Response(files.library);
            return own(address, more);
          };
          python = await loadPyodide({ ...data.options, _loadSnapshot: files.memory });
          self.answered = python.globals.get("answered");
          postMessage({ id: 0 });
        } else postMessage({ id: data.id, text: self.answered(data.text) });
      } catch (error) {
        postMessage({ id: data.id || 0, error: String(error.message || error).trim().split("\\n").pop() });
      }
    };`;
  const waiting = new Map();
  let count = 0, worker;

  async function bytes(name) {
    const place = document.getElementById("embedded-" + name), text = atob(place.textContent);
    place.remove();
    const packed = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index++) packed[index] = text.charCodeAt(index);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function told(id, message, hand) {
    return new Promise((done, failed) => {
      waiting.set(id, { done, failed });
      worker.postMessage(message, hand);
    });
  }

  async function start() {
    const options = JSON.parse(document.getElementById("embedded-options").textContent);
    const [runtime, loader, wasm, library, memory] = await Promise.all(["runtime", "loader", "wasm", "library", "memory"].map(bytes));
    worker = new Worker(URL.createObjectURL(new Blob([runtime, "\n", loader, "\n", WORKER], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => {
      const { done, failed } = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.error) failed(new Error(data.error)); else done(data.text);
    };
    worker.onerror = error => waiting.forEach(({ failed }) => failed(new Error(error.message || "the worker cannot start")));
    await told(0, { start: { wasm, library, memory }, options }, [wasm.buffer, library.buffer, memory.buffer]);
  }

  return {
    ready: start(),
    async answer(asked) {
      const id = ++count;
      return JSON.parse(await told(id, { id, text: JSON.stringify(asked) }));
    },
  };
})();
