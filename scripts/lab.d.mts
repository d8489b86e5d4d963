/** Types of lab.mjs for the tests, which start the same lab. */
export function labCommand(extra?: string[]): Promise<{ command: string; args: string[] }>;
export function labEnvironment(path?: string): { PATH: string; VIRTUAL_ENV: string };
