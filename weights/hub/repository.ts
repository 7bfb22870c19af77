/**
 * Names of model repositories, and of their folders in a cache.
 * @module
 */

/** A model repository of a hub, at a revision. */
export interface Repository {
  /** `organisation/name`. */
  readonly name: string;
  /** A branch, a tag or a commit; `main` by default. */
  readonly revision: string;
}

const WORD = "[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?";
const REPOSITORY = new RegExp(`^(${WORD}/${WORD})(?:@(${WORD}(?:/${WORD})*))?$`);

/** Reads `organisation/name` or `organisation/name@revision`; undefined for any other text. */
export function parseRepository(text: string): Repository | undefined {
  const [, name, revision = "main"] = REPOSITORY.exec(text) ?? [];
  // In the names of folders both mean something else.
  const plain = !text.includes("--") && !text.includes("..");
  return name !== undefined && plain ? { name, revision } : undefined;
}

/** The shortest text that {@link parseRepository} reads as this repository. */
export function showRepository({ name, revision }: Repository): string {
  return revision === "main" ? name : `${name}@${revision}`;
}

/** The name of a repository's folder in a cache: `models--organisation--name`. */
export function folderName(name: string): string {
  return `models--${name.replace("/", "--")}`;
}

/** The repository whose folder has this name; undefined if it is not a repository's. */
export function repositoryName(folder: string): string | undefined {
  const [kind, ...words] = folder.split("--");
  return kind === "models" ? parseRepository(words.join("/"))?.name : undefined;
}

/** Whether a revision is a commit, as Git names it. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}
