import { EntitlementGate, FeatureGate, LimitMeter, Refusal, useEntitlements } from '@entitled/client/react';
import { useState } from 'react';

/** What every shop sees: limits, reports, and what came back from the backend. */
export function Dashboard() {
  const { refresh } = useEntitlements();
  const [answer, setAnswer] = useState<{ done: string; status: number } | null>(null);

  const call = async (method: string, path: string, done: string) => {
    const response = await fetch(path, { method });
    setAnswer({ ...(await response.json()), status: response.status, done });
    await refresh();
  };

  return (
    <>
      <h1>Dashboard</h1>
      <section className="card" aria-labelledby="limits">
        <h2 id="limits">What your plan holds</h2>
        <p><LimitMeter limit="branches" /></p>
        <p><LimitMeter limit="users" /></p>
        <EntitlementGate limit="branches" mode="disable">
          <button onClick={() => void call('POST', '/api/branches', 'The branch is open.')}>Open a branch</button>
        </EntitlementGate>
      </section>
      <section className="card" aria-labelledby="reports">
        <h2 id="reports">Reports</h2>
        <FeatureGate feature="advanced_reports" mode="disable">
          <button onClick={() => void call('GET', '/api/reports', 'Revenue today: 4,200.')}>Show advanced reports</button>
        </FeatureGate>
        <button className="plain" onClick={() => void call('GET', '/api/reports', 'Revenue today: 4,200.')}>
          Ask the backend anyway
        </button>
        <button className="plain" onClick={() => void call('GET', '/api/staff', 'Working here: sam and kim.')}>
          List the staff
        </button>
        <Refusal error={answer}>{answer !== null && <output>{answer.status < 300 ? answer.done : 'That did not work.'}</output>}</Refusal>
      </section>
      <FeatureGate feature="advanced_reports" mode="lock">
        <section className="card">
          <h2>Advanced reports</h2>
          <p>Revenue by hour, branch and cashier.</p>
        </section>
      </FeatureGate>
    </>
  );
}
