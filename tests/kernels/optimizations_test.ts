import { assertEquals, assertThrows } from "@std/assert";
import { flashRuns, softmaxFuses, winogradRuns } from "../../kernels/choice.ts";
import { AUTO, BASELINE, type Optimizations, PAPER, readOptimizations } from "../../kernels/optimizations.ts";

Deno.test("optimizations are a preset and what is on in addition", () => {
  assertEquals(["auto", "paper", "baseline"].map(readOptimizations), [AUTO, PAPER, BASELINE]);
  assertEquals(readOptimizations("baseline,winograd,flash"), { ...BASELINE, winograd: true, flash: true });
  for (const text of ["", "Auto", "winograd", "baseline,", "baseline, flash", "baseline,shapes", "toString"]) {
    assertThrows(() => readOptimizations(text), RangeError, `got ${JSON.stringify(text)}`);
  }
});

const ALL: Optimizations = { ...AUTO, shapes: "all" };

/** A convolution that keeps a side of `side` pixels. */
function winograd(on: Optimizations, backend: "texture" | "buffer", channels: number, side: number, stride = 1) {
  const unread = { size: 3, pad: 1, upsample: 1, inputHeight: 0, inputWidth: 0, imageHeight: 0, imageWidth: 0 };
  const window = { ...unread, stride, outputHeight: side, outputWidth: side };
  return winogradRuns(on, backend, { in: channels, out: channels, window: 3 }, window, 2);
}

Deno.test("the paper's shapes: Winograd from 64 channels and 32 tiles, flash from 1,024 queries up to 40 channels", () => {
  // Stable Diffusion 1.4 at 512x512: the UNet's four resolutions, then the decoder's.
  const convolutions = [[320, 64], [640, 32], [1280, 16], [1280, 8], [512, 64], [256, 256], [128, 512]] as const;
  const runs = convolutions.map(([channels, side]) => winograd(PAPER, "buffer", channels, side));
  assertEquals(runs, [true, true, false, false, true, true, true]);
  assertEquals([winograd(PAPER, "buffer", 63, 64), winograd(PAPER, "buffer", 320, 64, 2)], [false, false]);
  const backend = "buffer";
  const attentions = [[40, 4096, 4096], [40, 4096, 77], [80, 1024, 1024], [40, 1023, 77]] as const;
  const flash = attentions.map(([width, queries, keys]) => flashRuns(PAPER, { backend, width, queries, keys }));
  assertEquals(flash, [true, true, false, false]);
  assertEquals(softmaxFuses(PAPER, { backend, width: 160, queries: 64, keys: 64 }), true);
});

Deno.test("what is off never runs, and of what is on only what can", () => {
  const attention = { backend: "buffer", width: 40, queries: 4096, keys: 4096 } as const;
  assertEquals([flashRuns(BASELINE, attention), softmaxFuses(BASELINE, attention)], [false, false]);
  assertEquals(winograd({ ...BASELINE, shapes: "all" }, "buffer", 320, 64), false);
  assertEquals(flashRuns(ALL, { backend: "buffer", width: 512, queries: 1, keys: 1 }), true);
  // The buffer backend stores rows of four pixels, and a texture is at most 16,384 texels high.
  assertEquals([winograd(ALL, "buffer", 4, 4), winograd(ALL, "buffer", 4, 6)], [true, false]);
  assertEquals([winograd(ALL, "texture", 1820, 6), winograd(ALL, "texture", 1824, 6)], [true, false]);
});

Deno.test("on llvmpipe a wide head's probabilities are stored", () => {
  const wide = { width: 512, queries: 4096, keys: 4096 };
  const fuses = (["texture", "buffer"] as const).map((backend) => softmaxFuses(AUTO, { backend, ...wide }));
  assertEquals([...fuses, softmaxFuses(AUTO, { backend: "texture", ...wide, width: 80 })], [false, true, true]);
});
