import assert from "node:assert/strict";
import { join } from "node:path";
import { cardAmong, cardOf, drmCards, parseCards, vendorNumber } from "../../../suites/card.ts";
import type { AdapterDescription } from "../../../suites/engine.ts";

const ROWS = `NVIDIA H200, 00000000:65:00.0, GPU-0a
NVIDIA A100, 00000000:66:00.0, GPU-0b
NVIDIA A100, [N/A], [Unknown Error]
`;

Deno.test("parseCards() reads nvidia-smi's rows, null for what it does not tell", () => {
  assert.deepEqual(parseCards(ROWS), [
    { name: "NVIDIA H200", pciAddress: "00000000:65:00.0", uuid: "GPU-0a" },
    { name: "NVIDIA A100", pciAddress: "00000000:66:00.0", uuid: "GPU-0b" },
    { name: "NVIDIA A100", pciAddress: null, uuid: null },
  ]);
  assert.deepEqual(parseCards(""), []);
});

Deno.test("cardAmong() takes the only card, or the only one of the adapter's name, and never guesses", () => {
  const cards = parseCards(ROWS);
  const unknown = { pciAddress: null, uuid: null };
  assert.deepEqual(cardAmong(cards, "NVIDIA H200"), { pciAddress: "00000000:65:00.0", uuid: "GPU-0a" });
  assert.deepEqual(cardAmong(cards, "NVIDIA A100"), unknown, "two of that name");
  assert.deepEqual(cardAmong(cards, "NVIDIA L4"), unknown);
  assert.deepEqual(cardAmong(cards.slice(0, 1), "H200"), { pciAddress: "00000000:65:00.0", uuid: "GPU-0a" });
  assert.deepEqual(cardAmong([], "NVIDIA H200"), unknown);
});

Deno.test("vendorNumber() knows vendors by wgpu's numbers and by Dawn's names", () => {
  assert.equal(vendorNumber({ vendor: "4318", name: "" }), 0x10de);
  assert.equal(vendorNumber({ vendor: "0x1002", name: "" }), 0x1002);
  assert.equal(vendorNumber({ vendor: "nvidia", name: "x" }), 0x10de);
  assert.equal(vendorNumber({ vendor: "", name: "AMD Radeon Graphics" }), 0x1002);
  assert.equal(vendorNumber({ vendor: "", name: "some adapter" }), null);
});

Deno.test("drmCards() finds a vendor's cards among what Linux lists", async () => {
  const root = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    const cards = [["card0", "0x1002", "0000:03:00.0"], ["card1", "0x8086", "0000:00:02.0"], [
      "card2",
      "",
      "",
    ]];
    for (const [name, vendor, address] of [...cards, ["card0-DP-1", "0x1002", "0000:09:00.0"]]) {
      await Deno.mkdir(join(root, name, "device"), { recursive: true });
      await Deno.writeTextFile(join(root, name, "device", "vendor"), `${vendor}\n`);
      const uevent = address && `DRIVER=amdgpu\nPCI_SLOT_NAME=${address}\n`;
      await Deno.writeTextFile(join(root, name, "device", "uevent"), uevent);
    }
    assert.deepEqual(await drmCards(0x1002, root), [{ name: null, pciAddress: "0000:03:00.0", uuid: null }]);
    assert.deepEqual(await drmCards(0x10de, root), []);
    assert.deepEqual(await drmCards(0x1002, join(root, "none")), []);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("a software adapter is no card", async () => {
  assert.equal(
    await cardOf({ software: true, vendor: "4318", name: "llvmpipe" } as AdapterDescription),
    null,
  );
});
