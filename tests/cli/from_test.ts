import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { type Request, SIZE_SETTINGS } from "../../pipeline/request.ts";
import { encodePng, readTexts } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], stdin?: string) {
  const environment = fakeEnvironment({ folder, ...(stdin === undefined ? {} : { stdin }) });
  const code = await run(args, environment);
  return { code, ...environment.written };
}

const textsOf = (path: string) => readTexts(Deno.readFileSync(path), ["denoise", "parameters"]);

/** One value other than the default of each option that decides a picture. */
const ALL = {
  "negative-prompt": 'no, "never": not\nthis',
  "prompt-syntax": "plain",
  "long-prompt": "chunk",
  "clip-skip": "2",
  "seed": `${2n ** 64n - 1n}`,
  "steps": "3",
  "guidance": "0.0000001",
  "guidance-rescale": "0.7",
  "width": "64",
  "height": "128",
  "scheduler": "ddim-trailing",
  "prediction": "v",
  "eta": "0.5",
  "vae-tiling": "on",
  "rng": "cuda",
  "model": "./mine",
  "precision": "f32",
  "kernels": "paper",
};

const flags = (options: Readonly<Record<string, string>>) =>
  Object.entries(options).map(([name, value]) => `--${name}=${value}`);

Deno.test(
  "--from makes the same file again, whatever the prompt and the options",
  withFolder(async (folder) => {
    for (
      const prompt of ["a cat", '日本語 🍎, (x:1.2): "q"\n\nNegative prompt: y', "\ud800 alone", "nul\0nul", "--x"]
    ) {
      const line = JSON.stringify({ prompt, ...ALL, model: undefined, precision: undefined, kernels: undefined });
      const model = ["--model=./mine", "--precision=f32", "--kernels=paper"];
      const args = ["batch", "-", ...model, "--output", "first.png"];
      assertEquals((await runFake(folder, args, line)).code, 0);
      const again = await runFake(
        folder,
        ["--from", "first.png", "--trust-paths", "--output", "again.png"],
        "not this",
      );
      assertEquals([again.code, again.stdout], [0, "again.png\n"], again.stderr);
      const bytes = Deno.readFileSync(join(folder, "first.png"));
      assertEquals(Deno.readFileSync(join(folder, "again.png")), bytes);
      const shown = JSON.parse((await runFake(folder, ["show", "again.png", "--json"])).stdout);
      assertEquals(shown.picture.prompt, prompt);
    }
  }),
);

Deno.test(
  "every option that decides a picture is kept, and show says it",
  withFolder(async (folder) => {
    await runFake(folder, ["a cat", ...flags(ALL), "--output", "cat.png"]);
    const { code, stdout } = await runFake(folder, ["show", "cat.png", "--json"]);
    const { picture, parameters, schema, path, lost } = JSON.parse(stdout);
    assertEquals([code, schema, path, lost], [0, 1, "cat.png", []]);
    const { prompt, ...options } = picture;
    assertEquals(prompt, "a cat");
    assertEquals(options, {
      ...ALL,
      "clip-skip": 2,
      "steps": 3,
      "guidance": 1e-7,
      "guidance-rescale": 0.7,
      "eta": 0.5,
      "width": 64,
      "height": 128,
    });
    assertEquals(
      parameters,
      'a cat\nNegative prompt: no, "never": not\nthis\nSteps: 3, Sampler: DDIM, Schedule type: SGM Uniform, ' +
        "CFG scale: 1e-7, Seed: 18446744073709551615, Size: 64x128, Model: ./mine, Eta DDIM: 0.5, Clip skip: 2, RNG: NV, CFG Rescale phi: 0.7, Version: denoise 0.1.0",
    );
    const words = await runFake(folder, ["show", "cat.png"]);
    assertStringIncludes(words.stdout, "prompt: a cat\nmodel: ./mine\n");
    assertStringIncludes(words.stdout, "\nmade on: Fake\n");
  }),
);

Deno.test(
  "what SDXL is told of an original is kept, and other families refuse it",
  withFolder(async (folder) => {
    const told = { "original-width": "256", "original-height": "192", "crop-left": "0", "crop-top": "16" };
    const args = ["a cat", ...flags(told), "--output", "cat.png"];
    assertEquals(await run(args, fakeEnvironment({ folder, xl: true })), 0);
    let made: Request | undefined;
    const again = ["--from", "cat.png", "--output", "again.png"];
    assertEquals(await run(again, fakeEnvironment({ folder, xl: true, onRequest: (request) => made = request })), 0);
    assertEquals(SIZE_SETTINGS.map((setting) => made![setting]), [256, 192, 0, 16]);
    assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
    const { code, stderr } = await runFake(folder, args);
    assertEquals(code, 2);
    assertStringIncludes(stderr, "--original-width 256: only models of Stable Diffusion XL are told it");
  }),
);

Deno.test(
  "options that are given go before those of the picture",
  withFolder(async (folder) => {
    await runFake(folder, ["a cat", ...flags(ALL), "--output", "cat.png"]);
    const other = ["a dog", "--from", "cat.png", "--model", "mine", "--seed", "7", "--negative-prompt=", "--json"];
    const { prompt, seed, steps, negativePrompt, path } = JSON.parse((await runFake(folder, other)).stdout);
    assertEquals([prompt, seed, steps, negativePrompt, path], ["a dog", "7", 3, "", "a-dog-7.png"]);
  }),
);

Deno.test(
  "--no-metadata keeps the file to its pixels",
  withFolder(async (folder) => {
    await runFake(folder, ["a cat", "--no-metadata", "--output", "cat.png"]);
    assertEquals(textsOf(join(folder, "cat.png")), []);
    const line = '{"prompt": "x", "no-metadata": false, "output": "x.png"}\n{"prompt": "y", "output": "y.png"}';
    await runFake(folder, ["batch", "-", "--no-metadata"], line);
    assertEquals(textsOf(join(folder, "x.png")).length, 2);
    assertEquals(textsOf(join(folder, "y.png")), []);
    for (const args of [["show", "cat.png"], ["--from", "cat.png"]]) {
      const { code, stderr } = await runFake(folder, args);
      assertEquals([code, stderr], [
        2,
        "denoise: cat.png does not say how it was made: it has neither a denoise nor a parameters text\n",
      ]);
    }
  }),
);

Deno.test(
  "a picture of another tool is made as far as it goes, and what is lost is said",
  withFolder(async (folder) => {
    const text = "a cat\nSteps: 4, Sampler: Euler a, CFG scale: 2, Seed: 3, Size: 64x64, Model: sd, ENSD: 31337";
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    Deno.writeFileSync(join(folder, "theirs.png"), encodePng(blank, [{ keyword: "parameters", text }]));
    const { code, stdout, stderr } = await runFake(folder, ["--from", "theirs.png", "--json"]);
    const { seed, steps, scheduler, rng, width, guidance } = JSON.parse(stdout);
    assertEquals([code, seed, steps, scheduler, rng, width, guidance], [0, "3", 4, "euler-ancestral", "cuda", 64, 2]);
    assertStringIncludes(stderr, "Not taken from theirs.png: Model: sd (--model says where it is)\n");
    assertStringIncludes(stderr, "Not taken from theirs.png: ENSD: 31337\n");
    const shown = await runFake(folder, ["show", "theirs.png"]);
    assertStringIncludes(shown.stdout, "prompt: a cat\nnegative-prompt: \n");
    assertStringIncludes(shown.stdout, "cannot be made again: ENSD: 31337\n");
    const steering = text.replace("31337", "\x1b[2J\x9b\r");
    Deno.writeFileSync(join(folder, "steering.png"), encodePng(blank, [{ keyword: "parameters", text: steering }]));
    for (const args of [["show", "steering.png"], ["--from", "steering.png"]]) {
      const told = await runFake(folder, args);
      assertStringIncludes(told.stdout + told.stderr, ": ENSD: \\x1b[2J\\x9b\n");
    }

    const odd = text.replace("64x64", "65x64");
    Deno.writeFileSync(join(folder, "odd.png"), encodePng(blank, [{ keyword: "parameters", text: odd }]));
    const refused = await runFake(folder, ["--from", "odd.png"]);
    assertEquals(refused.code, 2);
    assertStringIncludes(
      refused.stderr,
      'odd.png cannot be made again: --width must be a multiple of 8 from 64 to 4096, got "65"',
    );
    assertEquals((await runFake(folder, ["--from", "odd.png", "--width", "64"])).code, 0);
  }),
);

Deno.test(
  "texts of ours that were tampered with are refused in words",
  withFolder(async (folder) => {
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    for (const text of ["", "{", "null", "7", "{}", '{"picture": 7}', '{"picture": {"prompt": "x", "steps": {}}}']) {
      Deno.writeFileSync(join(folder, "bad.png"), encodePng(blank, [{ keyword: "denoise", text }]));
      const { code, stderr } = await runFake(folder, ["--from", "bad.png"]);
      assertEquals(code, 2, stderr);
      assert(stderr.startsWith("denoise: bad.png cannot be made again: "), stderr);
      assert(!/Unexpected|undefined/.test(stderr), stderr);
    }
    const missing = await runFake(folder, ["show", "missing.png"]);
    assertEquals(missing.code, 2);
    assertStringIncludes(missing.stderr, "Cannot read missing.png");
    assertEquals((await runFake(folder, ["show"])).code, 2);
  }),
);

Deno.test(
  "a picture that began with others names them, and --from tells when they have changed",
  withFolder(async (folder) => {
    const grey = (value: number) =>
      encodePng({ width: 64, height: 64, pixels: new Uint8Array(3 * 64 * 64).fill(value) });
    Deno.writeFileSync(join(folder, "dog.png"), grey(100));
    Deno.writeFileSync(join(folder, "mask.png"), grey(255));
    const init = ["--init-image", "dog.png", "--mask", "mask.png", "--strength", "0.6"];
    await runFake(folder, ["a cat", ...init, "--seed", "1", "--output", "cat.png"]);
    const again = await runFake(folder, ["--from", "cat.png", "--trust-paths", "--output", "again.png"]);
    assertEquals([again.code, again.stderr.includes("has changed")], [0, false], again.stderr);
    assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));

    const { picture, files, parameters } = JSON.parse((await runFake(folder, ["show", "cat.png", "--json"])).stdout);
    assertEquals([picture["init-image"], picture.mask, picture.strength], ["dog.png", "mask.png", 0.6]);
    assertEquals(Object.keys(files), ["dog.png", "mask.png"]);
    const digest = await crypto.subtle.digest("SHA-256", grey(100));
    assertEquals(files["dog.png"], new Uint8Array(digest).toHex());
    assertStringIncludes(parameters, ", Denoising strength: 0.6, RNG: CPU");

    Deno.writeFileSync(join(folder, "dog.png"), grey(101));
    const changed = await runFake(folder, ["--from", "cat.png", "--init-image", "dog.png", "--mask", "mask.png"]);
    assertEquals(changed.code, 0);
    assertStringIncludes(changed.stderr, "dog.png has changed since cat.png was made\n");
    assert(!changed.stderr.includes("mask.png has changed"));
    Deno.removeSync(join(folder, "dog.png"));
    const gone = await runFake(folder, ["--from", "cat.png", "--trust-paths"]);
    assertEquals(gone.code, 2);
    assertStringIncludes(gone.stderr, "dog.png");
  }),
);

Deno.test(
  "a picture made with another VAE says which, and --from refuses one of the same name and other bytes",
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "tiny.safetensors"), "one");
    Deno.writeTextFileSync(join(folder, "other.safetensors"), "two");
    const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode("one"))).toHex();
    const vae = ["--vae", "tiny.safetensors"];
    await runFake(folder, ["a cat", "--seed", "1", ...vae, "--output", "cat.png"]);
    const shown = JSON.parse((await runFake(folder, ["show", "cat.png", "--json"])).stdout);
    assertEquals([shown.picture.vae, shown.files], ["tiny.safetensors", { "tiny.safetensors": sha256 }]);
    assertStringIncludes(shown.parameters, ", Model: emoji, VAE: tiny.safetensors, ");
    const words = (await runFake(folder, ["show", "cat.png"])).stdout;
    assertStringIncludes(words, `\nSHA-256 of tiny.safetensors: ${sha256}\n`);

    const untold = await runFake(folder, ["--from", "cat.png"]);
    assertEquals(untold.code, 2);
    assertStringIncludes(untold.stderr, "cat.png was made with --vae tiny.safetensors: add this to the command");
    const again = await runFake(folder, ["--from", "cat.png", ...vae, "--output", "again.png"]);
    assertEquals([again.code, again.stderr.includes("is not the VAE")], [0, false], again.stderr);
    assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
    Deno.copyFileSync(join(folder, "tiny.safetensors"), join(folder, "copy.safetensors"));
    const copied = await runFake(folder, ["--from", "cat.png", "--vae", "copy.safetensors"]);
    assertEquals([copied.code, copied.stderr.includes("is not the VAE")], [0, false], copied.stderr);
    const other = await runFake(folder, ["--from", "cat.png", "--vae", "other.safetensors"]);
    assertEquals(other.code, 0);
    assertStringIncludes(other.stderr, "other.safetensors is not the VAE that cat.png was made with\n");

    Deno.writeTextFileSync(join(folder, "tiny.safetensors"), "two");
    for (const named of [vae, ["--trust-paths"]]) {
      const { code, stderr, stdout } = await runFake(folder, ["--from", "cat.png", ...named]);
      assertEquals([code, stdout], [2, ""]);
      assertStringIncludes(
        stderr,
        "denoise: tiny.safetensors is another file than the one that cat.png was made with: ",
      );
    }
  }),
);

const BLANK = { width: 1, height: 1, pixels: new Uint8Array(3) };

/** Puts a picture into a folder whose own text says these options. */
function writePicture(path: string, options: Readonly<Record<string, unknown>>): void {
  const text = JSON.stringify({ picture: { prompt: "a cat", seed: "1", steps: 1, ...options } });
  Deno.writeFileSync(path, encodePng(BLANK, [{ keyword: "denoise", text }]));
}

Deno.test(
  "a picture does not say what is written, how often, or how",
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "precious"), "kept");
    const evil = { "output": "precious", "count": 100_000, "no-metadata": true };
    for (const output of ["precious", "../precious", join(folder, "precious"), "-"]) {
      writePicture(join(folder, "evil.png"), { ...evil, output });
      const { code, stdout, stderr } = await runFake(folder, ["--from", "evil.png", "--json", "--model", "emoji"]);
      const { path, prompt } = JSON.parse(stdout);
      assertEquals([code, prompt, /^a-cat-1(-\d)?\.png$/.test(path)], [0, "a cat", true], stderr);
      assertStringIncludes(stderr, `Not taken from evil.png: output: ${output} (a picture does not say it)\n`);
      assertStringIncludes(stderr, "Not taken from evil.png: count: 100000 (a picture does not say it)\n");
      assertEquals(textsOf(join(folder, path)).length, 2);
      assertEquals(Deno.readTextFileSync(join(folder, "precious")), "kept");
      const shown = await runFake(folder, ["show", "evil.png"]);
      assertStringIncludes(shown.stdout, `cannot be made again: output: ${output} (`);
    }
    for (const option of ["grid", "preview", "from", "prompt-file", "json", "trust-paths", "tune"]) {
      writePicture(join(folder, "evil.png"), { [option]: "x" });
      const { code, stderr } = await runFake(folder, ["--from", "evil.png"]);
      assertEquals([code, stderr], [
        2,
        `denoise: evil.png cannot be made again: ${option} is not an option of a picture\n`,
      ]);
    }
  }),
);

Deno.test(
  "what a picture names is opened only where the command says it, and the sentence tells how",
  withFolder(async (folder) => {
    const path = join(folder, "cat.png");
    const refused = async (args: readonly string[], flags: string) => {
      const environment = fakeEnvironment({ folder });
      assertEquals(await run(["--from", "cat.png", ...args], environment), 2);
      const words =
        `cat.png was made with ${flags}: add this to the command, or --trust-paths to open whatever it names`;
      assertEquals([environment.written.stderr, environment.stages], [`denoise: ${words}\n`, []]);
    };
    const drawn = async (args: readonly string[], model: string) => {
      const { code, stdout, stderr } = await runFake(folder, ["--from", "cat.png", "--json", ...args]);
      assertEquals([code, code === 0 ? JSON.parse(stdout).model : undefined], [0, model], stderr);
      return stderr;
    };
    writePicture(path, { model: "CompVis/stable-diffusion-v1-4" });
    await refused([], "--model CompVis/stable-diffusion-v1-4");
    await drawn(["--model", "CompVis/stable-diffusion-v1-4"], "CompVis/stable-diffusion-v1-4");
    await drawn(["--trust-paths"], "CompVis/stable-diffusion-v1-4");
    writePicture(path, { model: "emoji" });
    await drawn([], "emoji");
    writePicture(path, { "model": "it's $mine", "init-image": "a.png", "mask": "-b.png" });
    await refused([], "--model 'it'\\''s $mine' --init-image a.png --mask=-b.png");
    await refused(["--model", "mine", "--mask", "b.png"], "--init-image a.png");
    writePicture(path, { model: "a.safetensors", tokenizer: "words" });
    await refused([], "--model a.safetensors --tokenizer words");
    await refused(["--tokenizer", "words"], "--model a.safetensors");
    assertStringIncludes(
      await drawn(["--model", "mine"], "mine"),
      "Not taken from cat.png: tokenizer: words (--tokenizer says which to use)\n",
    );
    const { code, stderr } = await runFake(folder, ["a cat", "--trust-paths"]);
    assertEquals([code, stderr], [2, "denoise: --trust-paths requires --from, whose paths it trusts\n"]);
  }),
);

Deno.test(
  "a text of ours that is deep, or names what objects have, is read like any other",
  withFolder(async (folder) => {
    const text = `{"picture": {"prompt": "x", "steps": 1}, "files": {"__proto__": "1", "toString": "2"}}`;
    Deno.writeFileSync(join(folder, "odd.png"), encodePng(BLANK, [{ keyword: "denoise", text }]));
    const { code, stderr } = await runFake(folder, ["--from", "odd.png"]);
    assertEquals([code, stderr.includes("has changed")], [0, false], stderr);
    for (const deep of [`{"picture": ${"[".repeat(2 ** 18)}${"]".repeat(2 ** 18)}}`, "[".repeat(2 ** 19)]) {
      Deno.writeFileSync(join(folder, "deep.png"), encodePng(BLANK, [{ keyword: "denoise", text: deep }]));
      const refused = await runFake(folder, ["--from", "deep.png"]);
      assertEquals(refused.code, 2);
      assertStringIncludes(refused.stderr, "denoise: deep.png cannot be made again: ");
    }
  }),
);

Deno.test(
  "show goes on after a file that says nothing, and its exit code tells",
  withFolder(async (folder) => {
    writePicture(join(folder, "good.png"), {});
    Deno.writeFileSync(join(folder, "mute.png"), encodePng(BLANK));
    const words = await runFake(folder, ["show", "no.png", "good.png", "mute.png", "good.png"]);
    const good = "good.png\nprompt: a cat\nseed: 1\nsteps: 1\n";
    assertEquals([words.code, words.stdout], [2, `${good}\n${good}`]);
    const [first, second] = words.stderr.split("\n");
    assertEquals(first, "denoise: Cannot read no.png: there is no such file");
    assertStringIncludes(second!, "denoise: mute.png does not say how it was made");
    const json = await runFake(folder, ["show", "--json", "no.png", "good.png"]);
    const [failed, shown] = json.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals([json.code, failed.path, failed.error.code, shown.picture.seed], [2, "no.png", 2, "1"]);
  }),
);
