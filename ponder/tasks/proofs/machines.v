(* Expressions, a stack machine for them, and binary numbers. *)
Require Import Arith Lia List.
Import ListNotations.

Inductive expr : Type := num : nat -> expr | plus : expr -> expr -> expr | mult : expr -> expr -> expr.
Inductive instr : Type := push : nat -> instr | addition : instr | product : instr.

Fixpoint value (e : expr) : nat :=
  match e with num n => n | plus a b => value a + value b | mult a b => value a * value b end.
Fixpoint compile (e : expr) : list instr :=
  match e with
  | num n => [push n]
  | plus a b => compile a ++ compile b ++ [addition]
  | mult a b => compile a ++ compile b ++ [product]
  end.
Definition step (i : instr) (s : list nat) : list nat :=
  match i, s with
  | push n, _ => n :: s
  | addition, b :: a :: t => a + b :: t
  | product, b :: a :: t => a * b :: t
  | _, _ => s
  end.
Fixpoint run (c : list instr) (s : list nat) : list nat := match c with [] => s | i :: d => run d (step i s) end.
Fixpoint tidy (e : expr) : expr :=
  match e with
  | num n => num n
  | plus a b => match tidy a with num 0 => tidy b | c => plus c (tidy b) end
  | mult a b => mult (tidy a) (tidy b)
  end.
Fixpoint bits (l : list bool) : nat := match l with [] => 0 | b :: t => (if b then 1 else 0) + 2 * bits t end.
Fixpoint next (l : list bool) : list bool :=
  match l with [] => [true] | true :: t => false :: next t | false :: t => true :: t end.

(* induction *)
Theorem run_of_app : forall c d s, run (c ++ d) s = run d (run c s).
Proof.
  intros c. induction c as [| i c IH]; intros d s.
  - reflexivity.
  - simpl. apply IH.
Qed.

(* induction *)
Theorem compiled_is_right : forall e, run (compile e) [] = [value e].
Proof.
  assert (app : forall c d s, run (c ++ d) s = run d (run c s)).
  { intros c. induction c as [| i c IH]; intros d s.
    - reflexivity.
    - simpl. apply IH. }
  assert (any : forall e s, run (compile e) s = value e :: s).
  { induction e as [n | a IHa b IHb | a IHa b IHb]; intros s.
    - reflexivity.
    - simpl. rewrite app, IHa, app, IHb. reflexivity.
    - simpl. rewrite app, IHa, app, IHb. reflexivity. }
  intros e. apply any.
Qed.

(* induction *)
Theorem tidy_keeps_value : forall e, value (tidy e) = value e.
Proof.
  induction e as [n | a IHa b IHb | a IHa b IHb].
  - reflexivity.
  - simpl. destruct (tidy a) as [[| n] | c d | c d]; simpl in *; lia.
  - simpl. rewrite IHa, IHb. reflexivity.
Qed.

(* induction *)
Theorem next_is_successor : forall l, bits (next l) = S (bits l).
Proof.
  induction l as [| [|] l IH].
  - reflexivity.
  - simpl. lia.
  - simpl. lia.
Qed.

(* induction *)
Theorem bits_below_power : forall l, bits l < 2 ^ length l.
Proof.
  induction l as [| b l IH].
  - simpl. lia.
  - simpl bits. simpl length. rewrite Nat.pow_succ_r'. destruct b; lia.
Qed.

Theorem plus_zero_runs_alike : forall n, run (compile (plus (num 0) (num n))) [] = run (compile (num n)) [].
Proof.
  intros n. reflexivity.
Qed.
