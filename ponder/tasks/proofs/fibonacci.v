(* Fibonacci numbers. *)
Require Import Arith Lia.

Fixpoint fib (n : nat) : nat :=
  match n with 0 => 0 | S m => match m with 0 => 1 | S k => fib m + fib k end end.
Fixpoint fibs (n : nat) : nat := match n with 0 => 0 | S m => fib (S m) + fibs m end.
Fixpoint walk (n a b : nat) : nat := match n with 0 => a | S m => walk m b (a + b) end.

(* induction *)
Theorem fib_positive : forall n, 1 <= fib (S n).
Proof.
  assert (both : forall n, 1 <= fib (S n) /\ 1 <= fib (S (S n))).
  { induction n as [| n [l r]].
    - split; simpl; lia.
    - split.
      + exact r.
      + change (fib (S (S (S n)))) with (fib (S (S n)) + fib (S n)). lia. }
  intros n. apply both.
Qed.

(* induction *)
Theorem fibs_closed : forall n, fibs n + 1 = fib (S (S n)).
Proof.
  induction n as [| n IH].
  - reflexivity.
  - change (fib (S (S (S n)))) with (fib (S (S n)) + fib (S n)).
    change (fibs (S n)) with (fib (S n) + fibs n). lia.
Qed.

(* induction *)
Theorem fib_of_a_sum : forall m n, fib (S (m + n)) = fib (S m) * fib (S n) + fib m * fib n.
Proof.
  assert (step : forall k, fib (S (S k)) = fib (S k) + fib k).
  { reflexivity. }
  induction m as [| m IH]; intros n.
  - simpl (0 + n). change (fib 1) with 1. change (fib 0) with 0. lia.
  - replace (S (S m + n)) with (S (m + S n)) by lia.
    rewrite IH. rewrite (step n), (step m). lia.
Qed.

(* induction *)
Theorem walk_is_fib : forall n, walk n 0 1 = fib n.
Proof.
  assert (general : forall n k, walk n (fib k) (fib (S k)) = fib (n + k)).
  { induction n as [| n IH]; intros k.
    - reflexivity.
    - change (walk (S n) (fib k) (fib (S k))) with (walk n (fib (S k)) (fib k + fib (S k))).
      replace (fib k + fib (S k)) with (fib (S (S k))).
      + rewrite IH. f_equal. lia.
      + change (fib (S (S k))) with (fib (S k) + fib k). lia. }
  intros n. specialize (general n 0). simpl (fib 0) in general. simpl (fib 1) in general.
  rewrite general. f_equal. lia.
Qed.

(* induction *)
Theorem fib_below_two : forall n, fib n <= 2 ^ n.
Proof.
  assert (both : forall n, fib n <= 2 ^ n /\ fib (S n) <= 2 ^ S n).
  { induction n as [| n [l r]].
    - simpl. lia.
    - split.
      + exact r.
      + change (fib (S (S n))) with (fib (S n) + fib n).
        rewrite Nat.pow_succ_r'. rewrite Nat.pow_succ_r' in r. rewrite Nat.pow_succ_r'. lia. }
  intros n. apply both.
Qed.
