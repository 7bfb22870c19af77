import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openUpscaler, type UpscalerFile } from "../../weights/esrgan.ts";
import { openFiles } from "../../weights/mod.ts";
import { type StoredTensor, withFile, withFolder } from "./safetensors_bytes.ts";
import { upscalerFile, type UpscalerName } from "./upscaler_file.ts";

function withUpscaler(bytes: Uint8Array, use: (file: UpscalerFile) => void): void {
  withFile(bytes, (path) => {
    use(openUpscaler(path));
  });
}

const TINY = { blocks: 2, channels: 8, growth: 4, unshuffle: 1, doublings: 2 };

/** Real-ESRGAN's names as ESRGAN's second files have them. */
const later = (name: string) =>
  name.replace(/^body\.(\d+)\.rdb/, "RRDB_trunk.$1.RDB").replace("conv_body", "trunk_conv").replace("conv_up", "upconv")
    .replace("conv_hr", "HRconv");

Deno.test("upscalers have Real-ESRGAN's names, whichever their files have; shapes tell the rest", () => {
  const names = (file: UpscalerFile) => [...file.tensors.keys()].sort();
  let wanted: string[] = [];
  withUpscaler(upscalerFile("x4"), (file) => {
    assertEquals([file.config, file.scale, file.sha256.length], [TINY, 4, 64]);
    wanted = names(file);
  });
  withUpscaler(upscalerFile("x2"), (file) => {
    assertEquals([file.config, file.scale, names(file)], [{ ...TINY, unshuffle: 2 }, 2, wanted]);
  });
  const others = [
    upscalerFile("old"),
    upscalerFile("x4", { rename: later }),
    upscalerFile("x4", { rename: (name) => `params_ema.${name}` }),
    upscalerFile("old", { rename: (name) => `params.${name}` }),
  ];
  for (const bytes of others) withUpscaler(bytes, (file) => assertEquals([file.config, names(file)], [TINY, wanted]));
  // Twice instead of four times: without the layers of the second doubling.
  const shorter: Record<string, string> = { 6: "5", 8: "5", 10: "7" };
  const twice = (name: string) =>
    name.startsWith("model.6.")
      ? undefined
      : name.replace(/^model\.(8|10)\./, (_, number) => `model.${shorter[number]}.`);
  withUpscaler(upscalerFile("old", { rename: twice }), (file) => {
    assertEquals([file.config, file.scale], [{ ...TINY, doublings: 1 }, 2]);
  });
});

Deno.test("what is no upscaler of this family is refused in words", () => {
  const tensor = (shape: readonly number[]): StoredTensor => {
    return { dtype: "F32", shape, bytes: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)) };
  };
  const without = (name: string) => ({ rename: (own: string) => own === name ? undefined : own });
  const instead = (name: string, shape: readonly number[]) => ({ ...without(name), more: { [name]: tensor(shape) } });
  const cases: readonly (readonly [Parameters<typeof upscalerFile>[1], string])[] = [
    [without("conv_first.weight"), "not an upscaler of the ESRGAN family"],
    [without("body.0.rdb1.conv1.weight"), "not an upscaler of the ESRGAN family"],
    [instead("conv_first.weight", [8, 1, 3, 3]), "it makes 3 channels of 1"],
    [instead("conv_last.weight", [1, 8, 3, 3]), "it makes 1 channels of 3"],
    [instead("conv_first.weight", [6, 3, 3, 3]), "it has 6 channels, not a multiple of 4"],
    [instead("body.0.rdb1.conv1.weight", [6, 8, 3, 3]), "it has 6 channels of a dense layer"],
    [{ more: { "params.conv_hr.bias": tensor([8]) } }, "are two names of one weight"],
    [
      { more: Object.fromEntries([3, 4, 5, 6].map((i) => [`conv_up${i}.weight`, tensor([1])])) },
      "it would make pictures 64 times as wide",
    ],
    [
      {
        more: Object.fromEntries(
          Array.from({ length: 127 }, (_, i) => [`body.${i + 2}.rdb1.conv1.weight`, tensor([1])]),
        ),
      },
      "it has 129 blocks; at most 128",
    ],
  ];
  for (const [changes, message] of cases) {
    withFile(upscalerFile("x4", changes), (path) => {
      assertThrows(() => openUpscaler(path), ModelFileError, message);
    });
  }
  withFolder((folder) => {
    Deno.writeFileSync(`${folder}/net.pth`, new Uint8Array(9));
    const error = assertThrows(() => openUpscaler(`${folder}/net.pth`), ModelFileError, "a Python pickle can run any");
    assertEquals(
      error.message.includes(`save_file({k: v.contiguous() for k, v in t.items()}, "${folder}/net.safetensors")`),
      true,
    );
    assertThrows(() => openUpscaler(`${folder}/none.safetensors`), Error, "There is no file");
    assertThrows(() => openUpscaler(folder), Error, "There is no file");
  });
});

Deno.test("an upscaler in place of a model is refused by what it is", () => {
  for (const name of ["x4", "old"] satisfies UpscalerName[]) {
    withFile(upscalerFile(name), (path) => {
      assertThrows(() => openFiles(path), ModelFileError, "this is an upscaler, which denoise upscale takes");
    });
  }
});
