import { assert, assertEquals } from "@std/assert";
import { join, relative, sep } from "@std/path";

const root = join(import.meta.dirname!, "..");

/** Each room and the rooms it may import from, its own apart. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["cli"],
  "cli": ["pipeline"],
  "pipeline": ["kernels", "weights"],
  "kernels": [],
  "weights": [],
  "tests/kernels": ["kernels"],
  "tests/weights": ["weights"],
  "tests/pipeline": ["pipeline", "kernels", "weights", "tests/kernels", "tests/weights"],
};

interface ModuleGraph {
  readonly modules: readonly {
    readonly local?: string;
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly code?: { readonly specifier: string };
      readonly type?: { readonly specifier: string };
      readonly isDynamic?: boolean;
    }[];
  }[];
}

async function readGraph(): Promise<ModuleGraph> {
  const command = new Deno.Command(Deno.execPath(), { args: ["info", "--json", "main.ts"], cwd: root });
  const { stdout } = await command.output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** A module's path below the root. */
function path(specifier: string): string {
  return relative(root, new URL(specifier).pathname).replaceAll(sep, "/");
}

/** The TypeScript files below a folder of the project, as paths below the root. */
function filesBelow(folder: string): string[] {
  return Array.from(Deno.readDirSync(join(root, folder))).flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    return isDirectory ? filesBelow(path) : path.endsWith(".ts") ? [path] : [];
  });
}

/** What a file imports of the project, static, dynamic or as types. */
function importsOf(path: string): string[] {
  const text = Deno.readTextFileSync(join(root, path));
  const specifiers = text.matchAll(
    /^\s*(?:import|export|\})[^"'`;]*?from "(\.[^"]+)"|\bimport\(\s*"(\.[^"]+)"|^import "(\.[^"]+)"/gm,
  );
  return Array.from(specifiers, ([, from, dynamic, bare]) => join(path, "..", (from ?? dynamic ?? bare)!));
}

const files = ["main.ts", ...["cli", "pipeline", "kernels", "weights", "tests", "fixtures"].flatMap(filesBelow)];
const imports = new Map(files.map((file) => [file, importsOf(file).filter((path) => path.endsWith(".ts"))]));

function roomOf(path: string): string {
  const [room, second] = path.split("/");
  return room === "tests" && rooms[`tests/${second}`] ? `tests/${second}` : room!;
}

Deno.test("imports are found, and lead to files that are there", () => {
  assert(imports.get("main.ts")!.includes("cli/run.ts"));
  assert(imports.get("cli/run.ts")!.includes("cli/generate.ts"), "a dynamic import");
  const all = [...imports.values()].flat();
  assert(all.length > 500, `${all.length} imports`);
  assertEquals(all.filter((path) => !imports.has(path)), []);
});

Deno.test("imports go one way: main, cli, pipeline, then kernels or weights; tests of a room stay below it", () => {
  const wrong = files.flatMap((from) =>
    imports.get(from)!.filter((to) => {
      const [room, target] = [roomOf(from), roomOf(to)];
      return rooms[room] !== undefined && room !== target && target !== "tests" && !rooms[room].includes(target);
    }).map((to) => `${from} imports ${to}`)
  );
  assertEquals(wrong, []);
});

Deno.test("no file imports itself by way of others", () => {
  const done = new Set<string>();
  const circle = (path: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const next of imports.get(path)!) {
      const found = circle(next, [...way, path]);
      if (found) return found;
    }
    done.add(path);
    return undefined;
  };
  assertEquals(files.map((file) => circle(file, [])).find((found) => found !== undefined), undefined);
});

Deno.test("help and wrong usage are answered before anything heavy is loaded", async () => {
  const { modules } = await readGraph();
  const imports = new Map(modules.map(({ specifier, dependencies = [] }) => [specifier, dependencies]));
  const loaded = new Set([modules.find(({ specifier }) => specifier.endsWith("/main.ts"))!.specifier]);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of imports.get(specifier) ?? []) if (code && !isDynamic) loaded.add(code.specifier);
  }
  assertEquals([...loaded].filter((specifier) => !/^(file|node):/.test(specifier)), []);
  // The tables of options and schedulers, and what checks them.
  const light =
    /^(cli|pipeline\/schedulers)\/|^(main\.ts|deno\.json|(pipeline|kernels)\/optimizations\.ts|pipeline\/limits\.ts|weights\/(json|limits)\.ts)$/;
  assertEquals(
    [...loaded].filter((specifier) => specifier.startsWith("file:")).map(path).filter((path) => !light.test(path)),
    [],
  );
  assert(loaded.size > 20 && loaded.size < 60, `${loaded.size} modules`);
});
