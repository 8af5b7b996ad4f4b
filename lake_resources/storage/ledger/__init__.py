"""The ledger: tables, connections and statements by concern."""
