import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname, join } from "@std/path";
import { fetchDawn, installDawn } from "../../cli/dawn.ts";
import { encodePng, readTexts } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { NoGpuError } from "../../kernels/errors.ts";
import { DAWN_VERSION } from "../../pipeline/webgpu.ts";
import { runDenoise } from "./denoise_process.ts";
import { fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

const FOLDER = `dawn-${DAWN_VERSION}`;

/** Puts a module in the place of Dawn's. */
function writeDawn(folder: string, text = ""): void {
  const path = join(folder, "node_modules", "webgpu", "index.js");
  Deno.mkdirSync(dirname(path), { recursive: true });
  Deno.writeTextFileSync(path, text);
  Deno.writeTextFileSync(join(folder, "node_modules", "webgpu", "package.json"), '{"type":"module"}');
}

async function runFake(args: readonly string[], world: FakeWorld) {
  const environment = fakeEnvironment(world);
  const code = await run(args, environment);
  return { code, ...environment.written, stages: environment.stages };
}

Deno.test("Dawn is fetched once, by one of several processes, and told", async (t) => {
  const cached = (test: (cache: string, world: ReturnType<typeof fakeEnvironment>) => Promise<void>) =>
    withFolder(async (folder) => {
      await test(join(folder, "denoise"), fakeEnvironment({ variables: { XDG_CACHE_HOME: folder } }));
    });
  const namesIn = (cache: string) => Array.from(Deno.readDirSync(cache), ({ name }) => name).sort();

  await t.step(
    "two at once",
    cached(async (cache, environment) => {
      let installed = 0;
      const install = async (folder: string) => {
        installed++;
        assertEquals(namesIn(cache).filter((name) => name === FOLDER), []);
        await Promise.resolve();
        writeDawn(folder);
      };
      const folders = await Promise.all([1, 2, 3].map(() => fetchDawn(environment, install)));
      assertEquals([installed, ...folders], [1, ...Array(3).fill(join(cache, FOLDER))]);
      assertEquals(namesIn(cache), [FOLDER, "dawn.lock"]);
      assertStringIncludes(environment.written.stderr, `Dawn ${DAWN_VERSION} is fetched once, 51 MB, into ${cache}`);
      const { stderr } = environment.written;
      assertEquals(await fetchDawn(environment, install), folders[0]);
      assertEquals([installed, environment.written.stderr], [1, stderr]);
    }),
  );

  await t.step(
    "what a killed process left is removed, and so is what is not whole",
    cached(async (cache, environment) => {
      for (const name of ["dawn-abc.incomplete", FOLDER]) Deno.mkdirSync(join(cache, name, "x"), { recursive: true });
      await fetchDawn(environment, (folder) => Promise.resolve(writeDawn(folder)));
      assertEquals(namesIn(cache), [FOLDER, "dawn.lock"]);
      assertEquals(namesIn(join(cache, FOLDER)), ["node_modules"]);
    }),
  );

  await t.step(
    "a failure leaves nothing",
    cached(async (cache, environment) => {
      const fail = (folder: string) => {
        writeDawn(folder);
        return Promise.reject(new NoGpuError("No network"));
      };
      await assertRejects(() => fetchDawn(environment, fail), NoGpuError, "No network");
      assertEquals(namesIn(cache), ["dawn.lock"]);
    }),
  );

  await t.step(
    "no place for it",
    cached(async (cache, environment) => {
      Deno.writeTextFileSync(cache, "a file");
      const never = () => Promise.reject(new Error("It was fetched"));
      const error = await assertRejects(() => fetchDawn(environment, never), NoGpuError);
      assertStringIncludes(error.message, `Dawn cannot be kept in ${cache}`);
      const nowhere = fakeEnvironment();
      await assertRejects(() => fetchDawn(nowhere, never), NoGpuError, "set HOME or XDG_CACHE_HOME");
    }),
  );
});

/** Installs from a registry on this machine that answers with `bytes`, into a cache that holds nothing. */
async function installFrom(folder: string, bytes: BodyInit | undefined, offline = false): Promise<readonly string[]> {
  const asked: string[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, ({ url }) => {
    asked.push(new URL(url).pathname);
    return new Response(bytes);
  });
  const address = `http://127.0.0.1:${server.addr.port}/`;
  if (bytes === undefined) await server.shutdown();
  const variables = { DENO_DIR: join(folder, "deno"), NPM_CONFIG_REGISTRY: address, NO_PROXY: "*" };
  const target = Deno.makeTempDirSync({ dir: folder });
  const { message } = await assertRejects(() => installDawn(target, offline, variables), NoGpuError);
  if (bytes !== undefined) await server.shutdown();
  return [message, ...asked];
}

Deno.test(
  "a package with another hash is refused; no network and no cache are told",
  withFolder(async (folder) => {
    const [wrong, ...asked] = await installFrom(folder, "something else");
    assertStringIncludes(wrong!, `Dawn ${DAWN_VERSION} cannot be fetched from npm: Tarball checksum did not match`);
    assert(asked.includes(`/webgpu/-/webgpu-${DAWN_VERSION}.tgz`), asked.join(" "));
    const [unreachable] = await installFrom(folder, undefined);
    assertStringIncludes(unreachable!, "cannot be fetched from npm: error sending request");
    assertStringIncludes(unreachable!, `let DENOISE_DAWN name a folder in which "npm install webgpu@${DAWN_VERSION}"`);
    const [offline, ...none] = await installFrom(folder, "something else", true);
    assertStringIncludes(offline!, "not found in cache");
    assertEquals(none, []);
  }),
);

Deno.test(
  "a wrong DENOISE_WEBGPU is refused: exit code 2",
  withFolder(async (folder) => {
    for (const args of [["a cat"], ["batch", "-"], ["bench"], ["doctor"]]) {
      const world = { variables: { DENOISE_WEBGPU: "drawn" }, stdin: "a cat", folder };
      const { code, stdout, stderr, stages } = await runFake(args, world);
      assertEquals([code, stdout, stages.includes("openGpu")], [2, "", false], args.join(" "));
      const words = 'denoise: DENOISE_WEBGPU must be one of deno, dawn, got "drawn": did you mean dawn?';
      assertStringIncludes(stderr, words);
    }
    const { code, stderr } = await runFake(["a cat", "--webgpu", "wgpu"], { folder });
    assertEquals(code, 2);
    assertStringIncludes(stderr, '--webgpu must be one of deno, dawn, got "wgpu"');
  }),
);

Deno.test(
  "the picture says which WebGPU drew it, and --from tells when another does",
  withFolder(async (folder) => {
    writeDawn(join(folder, "dawn"));
    const draw = (args: readonly string[], variables: Record<string, string> = {}) =>
      runFake([...args, "--seed", "1"], { folder, variables: { DENOISE_DAWN: join(folder, "dawn"), ...variables } });
    const recordOf = (name: string) =>
      JSON.parse(readTexts(Deno.readFileSync(join(folder, name)), ["denoise"])[0]!.text);

    await draw(["cat", "--output", "own.png"]);
    await draw(["cat", "--output", "dawn.png"], { DENOISE_WEBGPU: "dawn" });
    await draw(["cat", "--output", "said.png", "--webgpu", "deno"], { DENOISE_WEBGPU: "dawn" });
    assertEquals(["own.png", "dawn.png", "said.png"].map((name) => recordOf(name).webgpu), [
      "Deno 2.9.6",
      "Dawn 0.6.2",
      "Deno 2.9.6",
    ]);
    assertEquals(recordOf("dawn.png").picture.webgpu, undefined);
    assertStringIncludes((await runFake(["show", "dawn.png"], { folder })).stdout, "\nmade with: Dawn 0.6.2\n");

    const { webgpu: _, ...old } = recordOf("own.png");
    const pixels = new Uint8Array(3 * 64 * 64);
    const texts = [{ keyword: "denoise", text: JSON.stringify(old) }];
    Deno.writeFileSync(join(folder, "old.png"), encodePng({ width: 64, height: 64, pixels }, texts));
    assert(!(await runFake(["show", "old.png"], { folder })).stdout.includes("made with"));

    const again = async (from: string, webgpu: string) =>
      (await draw(["--from", from, "--webgpu", webgpu, "--output", "again.png"])).stderr;
    for (const from of ["own.png", "old.png"]) {
      assert(!(await again(from, "deno")).includes("rounds differently"));
      const words = `${from} was made on Fake with Deno's WebGPU; Fake with Dawn's WebGPU rounds differently`;
      assertStringIncludes(await again(from, "dawn"), words);
    }
    assert(!(await again("dawn.png", "dawn")).includes("rounds differently"));
  }),
);

Deno.test(
  "a Dawn that is missing, cannot be loaded or finds no adapter: one sentence, exit code 3",
  withFolder(async (folder) => {
    const cases = [
      ["missing", undefined, /Dawn \S+ cannot be loaded from \S+missing: /],
      ["broken", 'throw new Error("no such symbol");', /Dawn \S+ cannot be loaded from \S+broken: no such symbol/],
      ["other", "export const other = 1;", /Dawn \S+ cannot be loaded from \S+other: /],
      ["blind", "export const create = () => ({ requestAdapter: async () => null });", /Dawn found no usable GPU/],
    ] as const;
    for (const [name, text, words] of cases) {
      if (text !== undefined) writeDawn(join(folder, name), text);
      const variables = { DENOISE_WEBGPU: "dawn", DENOISE_DAWN: join(folder, name) };
      const { code, stdout, stderr } = await runDenoise(["a cat", "--steps", "1", "--quiet"], { folder, variables });
      assertEquals([code, stdout], [3, ""], stderr);
      assert(words.test(stderr), stderr);
      assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    }
  }),
);

Deno.test(
  "doctor says which providers there are, and fetches none",
  withFolder(async (folder) => {
    const variables = { XDG_CACHE_HOME: folder };
    const dawn = join(folder, "denoise", FOLDER);
    const own = await runFake(["doctor"], { variables });
    assertEquals(own.code, 0);
    assertStringIncludes(
      own.stdout,
      `WebGPU\n  deno ${Deno.version.deno}, Deno's own\n  dawn 0.6.2, not yet in ${dawn}`,
    );
    assertStringIncludes(own.stdout, "  matrices of float16 that a subgroup multiplies: Deno's own WebGPU has none\n");
    const asked = await runFake(["doctor", "--webgpu", "dawn"], { variables });
    assertEquals(asked.code, 3);
    assertStringIncludes(asked.stdout, `GPU: none that works\n  Dawn is not in ${dawn}`);
    assertEquals([...Deno.readDirSync(folder)], []);

    writeDawn(dawn);
    const there = await runFake(["doctor", "--webgpu", "dawn"], { variables });
    assertEquals(there.code, 0);
    assertStringIncludes(there.stdout, `\n  dawn 0.6.2, in ${dawn}\n`);
    assertStringIncludes(there.stdout, "  WebGPU: Dawn 0.6.2\n");
    assertStringIncludes(there.stdout, "  matrices of float16 that a subgroup multiplies: 16x8x16\n");
    const json = JSON.parse((await runFake(["doctor", "--webgpu", "dawn", "--json"], { variables })).stdout);
    assertEquals(json.matrices, [{ m: 16, n: 8, k: 16 }]);
    assertEquals(json.providers, [
      { name: "deno", version: Deno.version.deno, there: true },
      { name: "dawn", version: "0.6.2", there: true, folder: dawn },
    ]);
  }),
);
