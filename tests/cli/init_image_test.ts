import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { UsageError } from "../../cli/errors.ts";
import { ImageFiles, initSize } from "../../cli/init_image.ts";
import { run } from "../../cli/run.ts";
import { encodePng } from "../../cli/png.ts";
import type { Request } from "../../pipeline/request.ts";
import { fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { pngBytes } from "./png_bytes.ts";

async function runFake(args: readonly string[], world: FakeWorld = {}) {
  const environment = fakeEnvironment(world);
  const code = await run(["cat", "--seed", "1", ...args], environment);
  return { code, ...environment.written, stages: environment.stages };
}

/** A folder with a picture of 200x96 pixels and a mask of another size. */
async function withPictures(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const grey = (width: number, height: number) =>
      encodePng({ width, height, pixels: new Uint8Array(3 * width * height).fill(128) });
    Deno.writeFileSync(`${folder}/dog.png`, grey(200, 96));
    Deno.writeFileSync(`${folder}/mask.png`, grey(50, 24));
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a picture that starts from another says from which, with what strength", () =>
  withPictures(async (folder) => {
    const image = { path: "dog.png", sha256: await sha256(`${folder}/dog.png`) };
    const mask = { path: "./mask.png", sha256: await sha256(`${folder}/mask.png`) };
    const cases: readonly (readonly [readonly string[], object])[] = [
      [[], { image, strength: 0.8 }],
      [["--strength", ".5"], { image, strength: 0.5 }],
      [["--mask", "./mask.png"], { image, mask, strength: 1 }],
      [["--mask", "./mask.png", "--strength", "0.3"], { image, mask, strength: 0.3 }],
    ];
    for (const [args, want] of cases) {
      const { code, stdout } = await runFake(["--init-image", "dog.png", "--json", ...args], { folder });
      assertEquals(code, 0);
      const { init, width, height } = JSON.parse(stdout);
      // The model's own size is 64x72: no more than twice that.
      assertEquals([init, width, height], [want, 128, 64]);
    }
  }));

Deno.test("what is wrong with an init image is one sentence, before the GPU is opened", () =>
  withPictures(async (folder) => {
    Deno.writeFileSync(`${folder}/cut.png`, Deno.readFileSync(`${folder}/dog.png`).subarray(0, 80));
    Deno.writeFileSync(`${folder}/photo.jpg`, new Uint8Array([0xff, 0xd8, 0xff, 0xe0]));
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [["--init-image", "cat.png"], 2, "Cannot read --init-image cat.png: there is no such file"],
      [["--init-image", "."], 2, "Cannot read --init-image .: "],
      [["--init-image", "photo.jpg"], 2, "Cannot read --init-image photo.jpg: it is a JPEG; only PNG is read"],
      [["--init-image", "cut.png"], 2, "Cannot read --init-image cut.png: it is a damaged PNG: "],
      [["--init-image", "dog.png", "--mask", "photo.jpg"], 2, "Cannot read --mask photo.jpg: it is a JPEG"],
      [["--mask", "mask.png"], 2, "--mask requires --init-image"],
      [["--strength", "0.5"], 2, "--strength requires --init-image"],
      [["--init-image", "dog.png", "--strength", "0"], 2, '--strength must be a number above 0, up to 1, got "0"'],
      [["--init-image", "dog.png", "--strength", "1.5"], 2, 'up to 1, got "1.5"'],
      [
        ["--init-image", "dog.png", "--steps", "3", "--strength", "0.3"],
        2,
        "--strength 0.3 runs no step of 3; use at least 0.334",
      ],
      [
        ["--init-image", "dog.png", "--steps", "1"],
        2,
        "With 1 step the default strength of 0.8 leaves nothing to do: give --strength 1 or more steps",
      ],
    ];
    for (const [args, want, message] of cases) {
      const { code, stdout, stderr, stages } = await runFake(args, { folder });
      assertEquals([code, stdout], [want, ""], stderr);
      assertStringIncludes(stderr, "denoise: ");
      assertStringIncludes(stderr, message);
      assert(!stages.includes("openGpu"));
    }
    const { code, stderr, stages } = await runFake(["--init-image", "dog.png"], { folder, decoderOnly: true });
    assertEquals([code, stages], [5, ["openModel", "complete"]]);
    assertStringIncludes(stderr, "computed weights vae: has no encoder");
    assertEquals((await runFake([], { folder, decoderOnly: true })).code, 0);
  }));

Deno.test("a model that paints names the option that is missing", () =>
  withPictures(async (folder) => {
    const world = { folder, paints: true };
    const words = "this model paints into a picture: it needs an init image and a mask";
    for (const [args, option] of [[[], "--init-image"], [["--init-image", "dog.png"], "--mask"]] as const) {
      const { code, stderr, stages } = await runFake(args, world);
      assertEquals([code, stages], [2, ["openModel", "complete"]]);
      assertStringIncludes(stderr, `denoise: ${option}: ${words}\n`);
    }
    assertEquals((await runFake(["--init-image", "dog.png", "--mask", "mask.png"], world)).code, 0);
  }));

Deno.test("the least strength that is named runs a step", () =>
  withPictures(async (folder) => {
    for (const steps of ["1", "3", "7", "999"]) {
      const args = ["--init-image", "dog.png", "--steps", steps, "--strength"];
      const { stderr } = await runFake([...args, "0.0001"], { folder });
      const least = /runs no step of \d+; use at least (\S+)/.exec(stderr)![1]!;
      assertEquals((await runFake([...args, least], { folder })).code, 0);
    }
  }));

Deno.test("a size follows from what is asked, then from the image, then from the model", () => {
  const model = { width: 512, height: 512 };
  type Sides = readonly [width: number | undefined, height: number | undefined];
  const sizes: readonly (readonly [image: readonly [number, number], asked: Sides, want: readonly [number, number]])[] =
    [
      [[768, 512], [undefined, undefined], [768, 512]],
      [[500, 301], [undefined, undefined], [496, 296]],
      [[4000, 3000], [undefined, undefined], [1024, 768]],
      [[3000, 4000], [undefined, undefined], [768, 1024]],
      [[20, 300], [undefined, undefined], [64, 296]],
      [[768, 512], [512, 512], [512, 512]],
      [[900, 600], [512, undefined], [512, 336]],
      [[900, 600], [undefined, 512], [768, 512]],
      [[10, 5000], [512, undefined], [512, 4096]],
      [[5000, 10], [512, undefined], [512, 64]],
    ];
  for (const [[width, height], [askedWidth, askedHeight], want] of sizes) {
    const got = initSize({ width, height }, { width: askedWidth, height: askedHeight }, model);
    assertEquals([got.width, got.height], want, `${width}x${height}`);
  }
});

Deno.test("an init image that loses its shape is named", () =>
  withPictures(async (folder) => {
    const stretched = await runFake(["--init-image", "dog.png", "--width", "64", "--height", "128"], { folder });
    assertStringIncludes(stretched.stderr, "The init image of 200x96 is stretched to 64x128\n");
    for (const args of [[], ["--width", "208"], ["--width", "200", "--height", "96"]]) {
      const { code, stderr } = await runFake(["--init-image", "dog.png", ...args], { folder });
      assertEquals([code, stderr.includes("stretched")], [0, false], stderr);
    }
  }));

Deno.test("--from starts from the same files, and says when they changed", () =>
  withPictures(async (folder) => {
    const args = ["--init-image", "dog.png", "--mask", "mask.png", "--strength", "0.5", "--output", "first.png"];
    assertEquals((await runFake(args, { folder })).code, 0);
    const environment = fakeEnvironment({ folder });
    assertEquals(await run(["--from", "first.png", "--trust-paths", "--output", "again.png"], environment), 0);
    assertEquals(environment.written.stderr.includes("dog.png"), false, environment.written.stderr);
    assertEquals(Deno.readFileSync(`${folder}/again.png`), Deno.readFileSync(`${folder}/first.png`));
    Deno.copyFileSync(`${folder}/mask.png`, `${folder}/dog.png`);
    const changed = fakeEnvironment({ folder });
    assertEquals(await run(["--from", "first.png", "--trust-paths", "--output", "other.png"], changed), 0);
    assertStringIncludes(changed.written.stderr, "dog.png");
  }));

Deno.test("a file is read again when it changes, and masks have another background", () =>
  withPictures((folder) => {
    const files = new ImageFiles(folder);
    const read = (option: string, background: number) => files.read("clear.png", { option, background });
    const clear = { width: 1, height: 1, depth: 8, colourType: 4 } as const;
    Deno.writeFileSync(`${folder}/clear.png`, pngBytes({ ...clear, pixel: () => [128, 0] }));
    const image = read("init-image", 255);
    assertEquals([...image.pixels, ...read("mask", 0).pixels], [255, 255, 255, 0, 0, 0]);
    assert(read("init-image", 255) === image);
    Deno.writeFileSync(`${folder}/clear.png`, pngBytes({ ...clear, width: 2, pixel: () => [128, 255] }));
    assertEquals([...read("init-image", 255).pixels], Array(6).fill(128));
    return Promise.resolve();
  }));

Deno.test("pixels of the last two files are kept, others are read again and must be the same", () =>
  withPictures((folder) => {
    const files = new ImageFiles(folder);
    const write = (name: string, grey: number) =>
      Deno.writeFileSync(`${folder}/${name}`, encodePng({ width: 1, height: 1, pixels: new Uint8Array(3).fill(grey) }));
    const names = ["a.png", "b.png", "c.png"];
    names.forEach(write);
    const [a, b, c] = names.map((name) => files.read(name, { option: "init-image", background: 255 }));
    Deno.removeSync(`${folder}/b.png`);
    Deno.removeSync(`${folder}/c.png`);
    assertEquals([b!.pixels[0], c!.pixels[0]], [1, 2]);
    assertEquals(a!.pixels[0], 0);
    assertThrows(() => b!.pixels, UsageError, "Cannot read --init-image b.png: there is no such file");
    write("b.png", 1);
    assertEquals(b!.pixels[0], 1);
    // Two more, so that it is forgotten once more.
    assertEquals([a!.pixels[0], c!.width], [0, 1]);
    write("c.png", 2);
    assertEquals([c!.pixels[0], a!.pixels[0]], [2, 0]);
    write("b.png", 3);
    assertThrows(() => b!.pixels, UsageError, "Cannot read --init-image b.png: it has changed since it was checked");
    return Promise.resolve();
  }));

Deno.test("an init image that changes while a batch draws fails alone", () =>
  withPictures(async (folder) => {
    const names = ["dog.png", "mask.png", "other.png"];
    Deno.copyFileSync(`${folder}/dog.png`, `${folder}/other.png`);
    const onRequest = ({ prompt, init }: Request) => {
      if (prompt === "dog.png") Deno.copyFileSync(`${folder}/mask.png`, `${folder}/other.png`);
      assert(init!.image.pixels.length > 0);
    };
    const stdin = names.map((name) => JSON.stringify({ prompt: name, "init-image": name })).join("\n");
    const environment = fakeEnvironment({ folder, stdin, onRequest });
    assertEquals(await run(["batch", "-", "--continue-on-error", "--json"], environment), 2);
    const documents = environment.written.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(documents.map(({ status }) => status), ["ok", "ok", "error"]);
    assertStringIncludes(documents[2].error.message, "--init-image other.png: it has changed since it was checked");
    assertEquals(environment.stages.filter((stage) => stage === "openGpu").length, 1);
  }));

async function sha256(path: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", Deno.readFileSync(path))).toHex();
}
