import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { cgroupLimitBytes, oomEvidence, oomKills } from "../../../suites/cgroup.ts";

const MOUNTS = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
`;
const V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

/** Lays out a machine of files and asks it. */
async function onMachine<T>(files: Record<string, string>, ask: (root: string) => Promise<T>): Promise<T> {
  const root = await Deno.makeTempDir({ prefix: "threefold-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(dirname(join(root, path)), { recursive: true });
      await Deno.writeTextFile(join(root, path), text);
    }
    return await ask(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("the limit of a v2 cgroup is the least of its own and its ancestors'", async () => {
  const files = {
    "proc/self/cgroup": "0::/user.slice/job.scope\n",
    "proc/self/mountinfo": MOUNTS + V2_MOUNT,
    "sys/fs/cgroup/user.slice/memory.max": "1073741824\n",
    "sys/fs/cgroup/user.slice/job.scope/memory.max": "max\n",
    "sys/fs/cgroup/user.slice/job.scope/memory.events":
      "low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\noom_group_kill 0\n",
    "proc/vmstat": "nr_free_pages 1\noom_kill 5\n",
  };
  assert.equal(await onMachine(files, cgroupLimitBytes), 2 ** 30);
  assert.deepEqual(await onMachine(files, oomKills), { cgroup: 3, kernel: 5 });
  // Where the memory controller is not handed down, kills are counted above.
  const { "sys/fs/cgroup/user.slice/job.scope/memory.events": counted, ...others } = files;
  const above = { ...others, "sys/fs/cgroup/user.slice/memory.events": counted };
  assert.deepEqual(await onMachine(above, oomKills), { cgroup: 3, kernel: 5 });
  const own = { ...files, "sys/fs/cgroup/user.slice/job.scope/memory.max": "536870912\n" };
  assert.equal(await onMachine(own, cgroupLimitBytes), 2 ** 29);
  const without = { ...files, "sys/fs/cgroup/user.slice/memory.max": "max\n" };
  assert.equal(await onMachine(without, cgroupLimitBytes), null);
});

Deno.test("a container's v2 cgroup is the root of what it sees", async () => {
  const files = {
    "proc/self/mountinfo": MOUNTS + V2_MOUNT,
    "sys/fs/cgroup/memory.max": "2147483648\n",
    "sys/fs/cgroup/memory.events": "oom_kill 1\n",
  };
  for (const path of ["/", "/../../other"]) {
    const machine = { ...files, "proc/self/cgroup": `0::${path}\n` };
    assert.equal(await onMachine(machine, cgroupLimitBytes), 2 ** 31, path);
    assert.deepEqual(await onMachine(machine, oomKills), { cgroup: 1, kernel: null }, path);
  }
});

Deno.test("a v1 memory cgroup is found beside an empty v2 one, as the host or the container names it", async () => {
  const unlimited = "9223372036854771712\n";
  const files = {
    "proc/self/cgroup": "8:pids:/\n4:cpu,memory:/docker/ab\n1:name=systemd:/\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": unlimited,
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": "3221225472\n",
    "sys/fs/cgroup/memory/docker/ab/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
  };
  const mounts = (top: string) =>
    `${MOUNTS}35 31 0:32 ${top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,cpu,memory\n` +
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
  const host = { ...files, "proc/self/mountinfo": mounts("/") };
  assert.equal(await onMachine(host, cgroupLimitBytes), 3 * 2 ** 30);
  assert.deepEqual(await onMachine(host, oomKills), { cgroup: 2, kernel: null });
  // In a container the folder of the container is mounted in the place of the root.
  const inside = {
    ...files,
    "proc/self/mountinfo": mounts("/docker/ab"),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
  };
  assert.equal(await onMachine(inside, cgroupLimitBytes), 2 ** 30);
  assert.deepEqual(await onMachine(inside, oomKills), { cgroup: 0, kernel: null });
  const free = { ...host, "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": unlimited };
  assert.equal(await onMachine(free, cgroupLimitBytes), null);
});

Deno.test("without these files nothing is known", async () => {
  assert.equal(await onMachine({}, cgroupLimitBytes), null);
  assert.deepEqual(await onMachine({}, oomKills), { cgroup: null, kernel: null });
});

Deno.test("oomEvidence() goes by the cgroup, and by the kernel where there is none", () => {
  const count = (cgroup: number | null, kernel: number | null) => ({ cgroup, kernel });
  assert.equal(
    oomEvidence(count(0, 3), count(1, 4)),
    "the oom_kill counter of its cgroup rose from 0 to 1 while it ran",
  );
  assert.equal(oomEvidence(count(1, 3), count(1, 4)), null, "the kernel killed something elsewhere");
  assert.equal(
    oomEvidence(count(null, 3), count(null, 4)),
    "the oom_kill counter of the kernel rose from 3 to 4 while it ran",
  );
  assert.equal(oomEvidence(count(null, 3), count(null, 3)), null);
  assert.equal(oomEvidence(count(null, null), count(null, null)), null);
});
