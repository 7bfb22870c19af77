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
    }[];
  }[];
}

/** Every import of the program, static, dynamic or of types, as pairs of paths below the root. */
async function readImports(): Promise<[from: string, to: string][]> {
  const command = new Deno.Command(Deno.execPath(), { args: ["info", "--json", "main.ts"], cwd: root });
  const { stdout } = await command.output();
  const { modules }: ModuleGraph = JSON.parse(new TextDecoder().decode(stdout));
  const path = (specifier: string) => relative(root, new URL(specifier).pathname).replaceAll(sep, "/");
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
