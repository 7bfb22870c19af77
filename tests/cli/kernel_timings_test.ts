import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { openTimings, selectionOf } from "../../cli/kernel_timings.ts";
import { fakeEnvironment } from "./fake_environment.ts";

const RADEON = { description: "Radeon", vendor: "4098", architecture: "rdna-3", software: false, webgpu: "Deno 2.9.6" };
const TIMES = new Map([["a", { direct: 1.5, Winograd: null }]]);

/** Calls `test` with a file in a folder that does not exist yet, and what was said of it. */
function withFile(test: (path: string, notices: string[]) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    test(join(folder, "cache", "denoise", "kernels.json"), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("timings are kept by adapter, driver and program", () =>
  withFile((path, notices) => {
    const say = (text: string) => void notices.push(text);
    assertEquals(openTimings(path, say).read(RADEON).size, 0);
    openTimings(path, say).write(RADEON, TIMES);
    openTimings(path, say).write({ ...RADEON, description: "Arc" }, new Map([["b", { flash: 2 }]]));
    openTimings(path, say).write(RADEON, new Map([["c", { flash: 3 }]]));
    const kept = openTimings(path, say).read(RADEON);
    // What another process has written meanwhile stays.
    assertEquals([...kept], [["a", { direct: 1.5, Winograd: null }], ["c", { flash: 3 }]]);
    const { schema, machines } = JSON.parse(Deno.readTextFileSync(path));
    assertEquals([schema, Object.keys(machines).length], [1, 2]);
    for (const part of ["Radeon", "4098", "rdna-3", `Deno ${Deno.version.deno}`, "denoise "]) {
      assertStringIncludes(Object.keys(machines)[0]!, part);
    }
    for (const other of [{ vendor: "1" }, { architecture: "rdna-4" }]) {
      assertEquals(openTimings(path, say).read({ ...RADEON, ...other }).size, 0);
    }
    assertEquals(notices, []);
    assertEquals([...Deno.readDirSync(join(path, ".."))].map(({ name }) => name), ["kernels.json"]);
  }));

const DAMAGED = [
  "",
  "{",
  "null",
  "[]",
  "7",
  '{"schema":1}',
  '{"schema":2,"machines":{}}',
  '{"schema":1,"machines":[]}',
  '{"schema":1,"machines":{"Radeon":7}}',
  '{"schema":1,"machines":{"Radeon":{"a":[1]}}}',
  '{"schema":1,"machines":{"Radeon":{"a":{"direct":"fast"}}}}',
  '{"schema":1,"machines":{"Radeon":{"a":{"direct":-1}}}}',
  '{"schema":1,"machines":{"Radeon":{"a":{"direct":1}}}',
];

Deno.test("a file that does not hold timings is named once and written anew", () => {
  for (const text of DAMAGED) {
    withFile((path, notices) => {
      Deno.mkdirSync(join(path, ".."), { recursive: true });
      Deno.writeTextFileSync(path, text);
      const store = openTimings(path, (notice) => void notices.push(notice));
      assertEquals(store.read(RADEON).size, 0);
      assertEquals(notices, [`${path} does not hold kernel timings and is written anew`], text);
      store.write(RADEON, TIMES);
      assertEquals([...store.read(RADEON)], [...TIMES]);
      assertEquals(notices.length, 1);
    });
  }
});

Deno.test("where nothing can be written or read, timings are forgotten", () =>
  withFile((path, notices) => {
    const say = (text: string) => void notices.push(text);
    // A file in the place of the folder, which not even root can write into; a folder in that of the file.
    const file = join(path, "..", "..", "..", "file");
    Deno.writeTextFileSync(file, "");
    Deno.mkdirSync(path, { recursive: true });
    for (const wrong of [join(file, "kernels.json"), path]) {
      const store = openTimings(wrong, say);
      store.write(RADEON, TIMES);
      assertEquals(store.read(RADEON).size, 0);
    }
    assertEquals(notices, []);
  }));

Deno.test("the file is in the cache folder; without one there is no store", () => {
  withFile((path, notices) => {
    const variables = { XDG_CACHE_HOME: join(path, "..", "..") };
    const { store, tune } = selectionOf({ tune: true }, fakeEnvironment({ variables }));
    store!.write(RADEON, TIMES);
    assert(Deno.statSync(path).isFile);
    assertEquals([tune, notices], [true, []]);
  });
  assertEquals(selectionOf({ tune: false }, fakeEnvironment()), { tune: false });
});
