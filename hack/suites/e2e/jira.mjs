// A script for Jira with an API token in place of its password.
import { Version2Client } from 'jira.js';
import { expect, input, step } from './steps.mjs';

const as = (user, token) => new Version2Client({ host: input.url, authentication: { basic: { email: user, apiToken: token } } });
const carol = as('carol', input.token);

await step('who am I', async () => {
  const me = await carol.myself.getCurrentUser();
  expect('name', me.name, 'carol');
});

await step('create an issue and read it', async (note) => {
  const made = await carol.issues.createIssue({
    fields: { project: { key: 'TOK' }, issuetype: { name: 'Task' }, summary: 'Written with an API token', description: 'ÄÖÜ ✓' },
  });
  const { fields } = await carol.issues.getIssue({ issueIdOrKey: made.key });
  note(made.key);
  expect('issue', [fields.summary, fields.description, fields.creator.name], ['Written with an API token', 'ÄÖÜ ✓', 'carol']);
});

await step('what Jira refuses is told as Jira tells it', async () => {
  const error = await carol.issues.getIssue({ issueIdOrKey: 'TOK-999' }).catch((e) => e);
  expect('status', error.status ?? error.response?.status, 404);
});

for (const [what, user, token] of [['a wrong token', 'carol', input.wrong], ["somebody else's name", 'bob', input.token]]) {
  await step(`${what} is refused`, async () => {
    const error = await as(user, token).myself.getCurrentUser().catch((e) => e);
    expect('status', error.status ?? error.response?.status, 401);
  });
}

await step('a password is not accepted: Basic is off in this Jira', async () => {
  const error = await as('carol', input.password).myself.getCurrentUser().catch((e) => e);
  expect('status', error.status ?? error.response?.status, 403);
});
