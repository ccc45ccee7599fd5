/** What a program prints, without white space around it; null where it fails or is not installed. */
export async function output(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, { args: [...args], env, stderr: "null" })
      .output();
    return success ? new TextDecoder().decode(stdout).trim() : null;
  } catch {
    return null; // not installed
  }
}
