import { useState } from 'react';

/** The till. */
export function PointOfSale() {
  const [sold, setSold] = useState(0);
  const sell = async () => {
    const response = await fetch('/api/sales', { method: 'POST' });
    if (response.ok) setSold((it) => it + 1);
  };
  return (
    <>
      <h1>Point of sale</h1>
      <button onClick={() => void sell()}>Sell a coffee</button>
      <p>Sold today: {sold}</p>
    </>
  );
}
