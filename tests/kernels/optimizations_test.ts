import { assertEquals, assertThrows } from "@std/assert";
import { flashRuns, softmaxFuses } from "../../kernels/attention.ts";
import { type Backend, planTensor } from "../../kernels/backend.ts";
import { layerWays } from "../../kernels/layer.ts";
import { AUTO, BASELINE, type Optimizations, PAPER, readOptimizations } from "../../kernels/optimizations.ts";
import { BACKENDS, HALF_BACKEND, MATRIX_BACKENDS } from "./harness.ts";

Deno.test("optimizations are a preset and what is on in addition", () => {
  assertEquals(["auto", "paper", "baseline"].map(readOptimizations), [AUTO, PAPER, BASELINE]);
  assertEquals(readOptimizations("baseline,winograd,flash"), { ...BASELINE, winograd: true, flash: true });
  for (const text of ["", "Auto", "winograd", "baseline,", "baseline, flash", "baseline,shapes", "toString"]) {
    assertThrows(() => readOptimizations(text), RangeError, `got ${JSON.stringify(text)}`);
  }
});

const ALL: Optimizations = { ...AUTO, shapes: "all" };

const [TEXTURE, BUFFER] = BACKENDS as readonly [Backend, Backend];

/** Whether a convolution to `side` pixels runs by Winograd, and which other way there is. */
function convolution(on: Optimizations, backend: Backend, channels: number, side: number, stride = 1) {
  const unread = { size: 3, pad: 1, upsample: 1, inputHeight: 0, inputWidth: 0, imageHeight: 0, imageWidth: 0 };
  const window = { ...unread, stride, outputHeight: side, outputWidth: side };
  const plan = (rows: number, height: number, width: number, batch = 1) =>
    planTensor(backend, { batch, channels: rows, height, width }, "x");
  const layer = { weights: plan(9 * channels, channels, 1), in: channels, out: channels, window: 3 };
  const x = plan(channels, side, side, 2);
  return layerWays(backend, on, { x, layer, out: x, window }, () => undefined).map(({ kernels }) => kernels);
}

function winograd(...shape: Parameters<typeof convolution>): boolean {
  return convolution(...shape)[0] === "Winograd";
}

Deno.test("the paper's shapes: Winograd from 64 channels and 32 tiles, flash from 1,024 queries up to 40 channels", () => {
  // Stable Diffusion 1.4 at 512x512: the UNet's four resolutions, then the decoder's.
  const convolutions = [[320, 64], [640, 32], [1280, 16], [1280, 8], [512, 64], [256, 256], [128, 512]] as const;
  const runs = convolutions.map(([channels, side]) => winograd(PAPER, BUFFER, channels, side));
  assertEquals(runs, [true, true, false, false, true, true, true]);
  assertEquals([winograd(PAPER, BUFFER, 63, 64), winograd(PAPER, BUFFER, 320, 64, 2)], [false, false]);
  const attentions = [[40, 4096, 4096], [40, 4096, 77], [80, 1024, 1024], [40, 1023, 77]] as const;
  const flash = attentions.map(([width, queries, keys]) => flashRuns(PAPER, { width, queries, keys }));
  assertEquals(flash, [true, true, false, false]);
  assertEquals(softmaxFuses(PAPER, BUFFER, { width: 160, queries: 64, keys: 64 }), true);
});

Deno.test("what is off never runs, and of what is on only what can", () => {
  const attention = { width: 40, queries: 4096, keys: 4096 };
  assertEquals([flashRuns(BASELINE, attention), softmaxFuses(BASELINE, BUFFER, attention)], [false, false]);
  assertEquals(convolution({ ...BASELINE, shapes: "all" }, BUFFER, 320, 64), ["direct"]);
  assertEquals(flashRuns(ALL, { width: 512, queries: 1, keys: 1 }), true);
  // The buffer backend stores rows of four pixels, and a texture is at most 16,384 texels high.
  assertEquals([winograd(ALL, BUFFER, 4, 4), winograd(ALL, BUFFER, 4, 6)], [true, false]);
  assertEquals([winograd(ALL, TEXTURE, 1820, 6), winograd(ALL, TEXTURE, 1824, 6)], [true, false]);
});

Deno.test("on llvmpipe a wide head's probabilities are stored", () => {
  const wide = { width: 512, queries: 4096, keys: 4096 };
  const fuses = BACKENDS.map((backend) => softmaxFuses(AUTO, backend, wide));
  assertEquals([...fuses, softmaxFuses(AUTO, TEXTURE, { ...wide, width: 80 })], [false, true, true]);
});

Deno.test("in float16 F(2x2) runs from 128 channels and tiles: on matrices always, otherwise where F(4x4) has too few tiles", () => {
  const firsts = (backend: Backend) =>
    ([[64, 64], [128, 64], [1280, 16], [1280, 24], [1280, 12]] as const).map(([channels, side]) =>
      convolution(AUTO, backend, channels, side)[0]
    );
  const [wide, narrow] = ["Winograd", "Winograd F(2x2)"];
  assertEquals(firsts(HALF_BACKEND), ["direct", wide, narrow, wide, "direct"]);
  const direct = "direct on matrices";
  assertEquals(firsts(MATRIX_BACKENDS[0]!), [direct, narrow, narrow, narrow, direct]);
  assertEquals(convolution(PAPER, HALF_BACKEND, 1280, 16), ["direct", "Winograd", "Winograd F(2x2)"]);
});

Deno.test("where both can run, the rules' own comes first: on llvmpipe from 64 channels and 16 tiles, on GPUs from 128 and 64", () => {
  const ways = ([[64, 8], [64, 12], [128, 20], [128, 24]] as const).map(([channels, side]) =>
    BACKENDS.map((backend) => convolution(AUTO, backend, channels, side))
  );
  const [direct, winograd] = [["direct", "Winograd"], ["Winograd", "direct"]];
  assertEquals(ways, [[direct, direct], [winograd, direct], [winograd, direct], [winograd, winograd]]);
});
