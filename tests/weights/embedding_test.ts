import { assert, assertEquals, assertThrows } from "@std/assert";
import { openEmbedding } from "../../weights/embedding.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { openFormula } from "../../weights/formula.ts";
import { byPart } from "../../weights/manifest.ts";
import { type StoredTensor, storeTensors, withFile, withFolder } from "./safetensors_bytes.ts";

const TABLE = "embeddings.token_embedding.weight";

/** The parts of a model whose text encoders have these widths. */
function partsOf(...widths: readonly number[]) {
  const names = ["text_encoder", "text_encoder_2"] as const;
  const parts = byPart((part) => openFormula(part, new Map()));
  const encoders = widths.map((width, i) => [names[i]!, openFormula(names[i]!, new Map([[TABLE, [50, width]]]))]);
  return { ...parts, ...Object.fromEntries(encoders) };
}

/** A tensor of 1, 2, 3, ... */
function tensor(shape: readonly number[], dtype: "F16" | "F32" = "F32"): StoredTensor {
  const length = shape.reduce((a, b) => a * b, 1);
  const values = Array.from({ length }, (_, i) => i + 1);
  const { buffer } = dtype === "F16" ? Float16Array.from(values) : Float32Array.from(values);
  return { dtype, shape, bytes: new Uint8Array(buffer) };
}

type Tensors = Readonly<Record<string, StoredTensor>>;

function withInversion(tensors: Tensors, use: (path: string) => void): void {
  withFile(storeTensors(new Map(Object.entries(tensors))), use);
}

Deno.test("a textual inversion is read in each of its layouts", () => {
  const two = [[[1, 2, 3, 4], [5, 6, 7, 8]]];
  const stray: StoredTensor = { dtype: "I64", shape: [1], bytes: new Uint8Array(8) };
  for (
    const [tensors, widths, vectors, word] of [
      [{ emb_params: tensor([2, 4]) }, [4], two, undefined],
      [{ "<thing>": tensor([2, 4], "F16") }, [4], two, "<thing>"],
      [{ "<thing>": tensor([4]) }, [4], [[[1, 2, 3, 4]]], "<thing>"],
      [{ "string_to_param.*": tensor([2, 4]), "string_to_token.*": stray }, [4], two, undefined],
      [{ clip_g: tensor([2, 6]), clip_l: tensor([2, 4]) }, [4, 6], [
        ...two,
        [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]],
      ], undefined],
    ] as const
  ) {
    withInversion(tensors, (path) => {
      const { vectors: read, word: own } = openEmbedding(path, partsOf(...widths));
      assertEquals(read.map((encoder) => encoder.map((vector) => [...vector])), vectors);
      assertEquals(own, word);
    });
  }
});

Deno.test("a file that is no textual inversion of this model's is refused with the numbers", () => {
  const pair = { clip_l: tensor([2, 4]), clip_g: tensor([2, 6]) };
  const nan: StoredTensor = { ...tensor([1, 4]), bytes: new Uint8Array(16).fill(255) };
  for (
    const [tensors, widths, problem] of [
      [
        { emb_params: tensor([2, 768]) },
        [1024],
        "its vectors are 768 wide, and those of this model's text encoder 1024",
      ],
      [
        { emb_params: tensor([2, 4]) },
        [4, 6],
        "its vectors are 4 wide, and those of this model's text encoders 4 and 6",
      ],
      [pair, [4], "its vectors are 4 and 6 wide, and those of this model's text encoder 4"],
      [pair, [6, 4], "its vectors are 4 and 6 wide, and those of this model's text encoders 6 and 4"],
      [{ ...pair, clip_g: tensor([3, 6]) }, [4, 6], "2 vectors for the first text encoder and 3 for the second"],
      [{ clip_l: tensor([2, 4]), other: tensor([1]) }, [4], 'the file has 2 tensors ("clip_l", "other")'],
      [{}, [4], "the file has 0 tensors"],
      [{ a: tensor([2, 2, 4]) }, [4], "its tensor is [2, 2, 4], not vectors"],
      [{ a: tensor([]) }, [4], "its tensor is [], not vectors"],
      [{ a: tensor([0, 4]) }, [4], "it has 0 vectors; 1 to 1024 are read"],
      [{ a: tensor([1025, 4]) }, [4], "it has 1025 vectors; 1 to 1024 are read"],
      [{ a: { dtype: "I64", shape: [1], bytes: new Uint8Array(8) } }, [4], "stored as I64, which is not supported"],
      [{ a: nan }, [4], "it has values that are not finite numbers"],
    ] as const
  ) {
    withInversion(tensors, (path) => {
      assertThrows(() => openEmbedding(path, partsOf(...widths)), ModelFileError, problem);
    });
  }
});

Deno.test("a pickle is refused unread, and so is what is no file", () =>
  withFolder((folder) => {
    const open = (name: string) => () => openEmbedding(`${folder}/${name}`, partsOf(4));
    for (const name of ["style.pt", "style.bin"]) {
      const error = assertThrows(open(name), ModelFileError, "a Python pickle can run any program");
      assert(error.message.includes("safetensors.torch.save_file"));
    }
    // A pickle under another name: a zip archive, and one of an older PyTorch.
    for (const [begins, is] of [["PK\x03\x04", "a zip archive"], ["\x80\x02}q\x01X", "a Python pickle"]] as const) {
      Deno.writeFileSync(
        `${folder}/style.safetensors`,
        Uint8Array.from(begins.padEnd(99), (letter) => letter.charCodeAt(0)),
      );
      assertThrows(open("style.safetensors"), ModelFileError, is);
    }
    assertThrows(open("none.safetensors"), ModelNotFoundError, "There is no file");
    assertThrows(open("."), ModelNotFoundError, "There is no file");
  }));
