import assert from "node:assert/strict";
import { lavapipeRevision } from "../../../engine/runtime/lavapipe_manifest.ts";

const MESA_22_3 = `{ "ICD": { "api_version": "1.1.230", "library_path": "/usr/lib/libvulkan_lvp.so" } }`;
const MESA_25_0 = `{ "ICD": { "api_version": "1.4.305", "library_path": "libvulkan_lvp.so" } }`;

/** The revision of a machine with these files. */
function revision(files: Record<string, string>, variables: Record<string, string> = {}): number | undefined {
  return lavapipeRevision((name) => variables[name], {
    list: (folder) =>
      Object.keys(files).filter((path) => path.startsWith(`${folder}/`)).map((path) =>
        path.slice(folder.length + 1)
      ),
    read: (path) => files[path],
  });
}

Deno.test("the revision is the last number of the software adapter's manifest", () => {
  assert.equal(revision({ "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json": MESA_22_3 }), 230);
  assert.equal(revision({ "/etc/vulkan/icd.d/lvp_icd.json": MESA_25_0 }), 305);
  assert.equal(
    revision({ "/users/ada/.local/share/vulkan/icd.d/lvp_icd.json": MESA_25_0 }, { HOME: "/users/ada" }),
    305,
  );
});

Deno.test("of several manifests the newest counts, of other drivers none", () => {
  assert.equal(
    revision({
      "/usr/local/share/vulkan/icd.d/lvp_icd.x86_64.json": MESA_25_0,
      "/usr/share/vulkan/icd.d/lvp_icd.i686.json": MESA_22_3,
    }),
    305,
  );
  assert.equal(revision({ "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json": MESA_22_3 }), undefined);
});

Deno.test("manifests that the environment names count alone, files or folders", () => {
  const files = {
    "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json": MESA_22_3,
    "/mine/lvp_icd.x86_64.json": MESA_25_0,
    "/swift/vk_swiftshader_icd.json": MESA_22_3,
  };
  assert.equal(
    revision(files, { VK_DRIVER_FILES: "/mine/lvp_icd.x86_64.json", VK_ICD_FILENAMES: "/other" }),
    305,
  );
  assert.equal(revision(files, { VK_ICD_FILENAMES: "/swift/vk_swiftshader_icd.json:/mine" }), 305);
  assert.equal(revision(files, { VK_ICD_FILENAMES: "/swift/vk_swiftshader_icd.json" }), undefined);
  assert.equal(revision(files, { VK_DRIVER_FILES: "", VK_ICD_FILENAMES: "" }), 230, "set to nothing");
});

Deno.test("no manifest, or one that says nothing, gives no revision", () => {
  assert.equal(revision({}), undefined);
  assert.equal(revision({ "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json": '{ "ICD": {' }), undefined);
  assert.equal(revision({ "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json": "" }), undefined);
});
