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

/** Every import of the program, static, dynamic or of types, as pairs of paths below the root. */
async function readImports(): Promise<[from: string, to: string][]> {
  const { modules } = await readGraph();
  return modules.flatMap(({ specifier, dependencies = [] }) =>
    dependencies.flatMap(({ code, type }) => {
      const to = (code ?? type)?.specifier;
      if (!specifier.startsWith("file:") || !to?.startsWith("file:")) return [];
      return [[path(specifier), path(to)] as [string, string]];
    })
  );
}

function roomOf(path: string): string {
  return path.split("/")[0]!;
}

Deno.test("imports go one way: main, cli, pipeline, then kernels or weights", async () => {
  const imports = await readImports();
  const wrong = imports.filter(([from, to]) => {
    const [room, target] = [roomOf(from), roomOf(to)];
    // The version stands in deno.json alone.
    return room !== target && to !== "deno.json" && !rooms[room]?.includes(target);
  });
  assertEquals(wrong.map(([from, to]) => `${from} imports ${to}`), []);
  const reached = new Set(imports.map(([_from, to]) => roomOf(to)));
  assert(["cli", "pipeline", "kernels", "weights"].every((room) => reached.has(room)));
});

Deno.test("help and wrong usage are answered before anything heavy is loaded", async () => {
  const { modules } = await readGraph();
  const imports = new Map(modules.map(({ specifier, dependencies = [] }) => [specifier, dependencies]));
  const loaded = new Set([modules.find(({ specifier }) => specifier.endsWith("/main.ts"))!.specifier]);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of imports.get(specifier) ?? []) if (code && !isDynamic) loaded.add(code.specifier);
  }
  assertEquals([...loaded].filter((specifier) => !specifier.startsWith("file:")), []);
  // The tables of options and schedulers, and what checks them.
  const light = /^(cli|pipeline\/schedulers)\/|^(main\.ts|deno\.json|(pipeline|kernels)\/optimizations\.ts)$/;
  assertEquals([...loaded].map(path).filter((path) => !light.test(path)), []);
  assert(loaded.size > 20 && loaded.size < 60, `${loaded.size} modules`);
});
