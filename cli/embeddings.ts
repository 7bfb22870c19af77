/**
 * The textual inversions of a request.
 * @module
 */
import { resolve } from "@std/path";
import type { EmbeddingFile, Model } from "../pipeline/mod.ts";
import type { Embedding, Request } from "../pipeline/request.ts";
import { type FileRecord, OpenedFiles } from "./added_files.ts";
import type { PipelineModule } from "./environment.ts";
import type { OptionValues } from "./options.ts";

/** Opens textual inversions for one model. */
export class EmbeddingFiles {
  readonly #folder: string;
  readonly #files: OpenedFiles<EmbeddingFile>;

  /** Paths begin in `folder`. */
  constructor(module: Pick<PipelineModule, "openEmbedding">, model: Model, folder: string) {
    this.#folder = folder;
    this.#files = new OpenedFiles((path) => module.openEmbedding(path, model));
  }

  /** @throws {ModelNotFoundError | ModelFileError} when one is absent, damaged or for another kind of model. */
  read({ embedding }: Pick<OptionValues, "embedding">): readonly Embedding[] {
    return embedding.map(({ file: name, word }) => ({
      name,
      word,
      file: this.#files.open(resolve(this.#folder, name)),
    }));
  }
}

/** A textual inversion as records of a picture name it. */
export interface EmbeddingRecord extends FileRecord {
  readonly word: string;
}

/** The textual inversions of a request, for records; undefined when there are none. */
export function embeddingsOf({ embeddings }: Pick<Request, "embeddings">): readonly EmbeddingRecord[] | undefined {
  return embeddings?.map(({ name, word, file: { sha256 } }) => ({ name, word, sha256 }));
}
