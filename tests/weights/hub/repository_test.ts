import { assertEquals } from "@std/assert";
import { folderName, parseRepository, repositoryName, showRepository } from "../../../weights/hub/repository.ts";

Deno.test("repositories are read and written with and without a revision", () => {
  const name = "CompVis/stable-diffusion-v1-4";
  for (
    const [text, revision, shortest] of [
      [name, "main", name],
      [`${name}@main`, "main", name],
      [`${name}@fp16`, "fp16", `${name}@fp16`],
      [`${name}@refs/pr/12`, "refs/pr/12", `${name}@refs/pr/12`],
    ] as const
  ) {
    assertEquals(parseRepository(text), { name, revision });
    assertEquals(showRepository({ name, revision }), shortest);
  }
});

Deno.test("what is no repository, or would leave its folder, is not read", () => {
  const wrong = [
    "",
    "name",
    "/name",
    "org/",
    "a/b/c",
    "./a",
    "../a",
    "a/..",
    "a/.b",
    "~/a",
    "a b/c",
    "a--b/c",
    "a/b\n",
  ];
  const revisions = ["@", "@..", "@../../x", "@/etc", "@a/", "@a\\b", "@a@b", "@ "].map((revision) => `a/b${revision}`);
  for (const text of [...wrong, ...revisions]) assertEquals(parseRepository(text), undefined, text);
});

Deno.test("folders are called after repositories and back", () => {
  assertEquals(folderName("org/a.b_c-d"), "models--org--a.b_c-d");
  assertEquals(repositoryName("models--org--a.b_c-d"), "org/a.b_c-d");
  for (const other of ["datasets--org--a", "models--a", "models--a--b--c", ".locks", "version.txt"]) {
    assertEquals(repositoryName(other), undefined);
  }
});
