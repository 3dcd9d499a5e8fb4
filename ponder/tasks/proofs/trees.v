(* Binary trees with numbers at their nodes. *)
Require Import Arith Lia List.
Import ListNotations.

Inductive tree : Type := leaf : tree | node : tree -> nat -> tree -> tree.

Fixpoint mirror (t : tree) : tree := match t with leaf => leaf | node l x r => node (mirror r) x (mirror l) end.
Fixpoint size (t : tree) : nat := match t with leaf => 0 | node l _ r => 1 + size l + size r end.
Fixpoint leaves (t : tree) : nat := match t with leaf => 1 | node l _ r => leaves l + leaves r end.
Fixpoint height (t : tree) : nat := match t with leaf => 0 | node l _ r => 1 + Nat.max (height l) (height r) end.
Fixpoint flat (t : tree) : list nat := match t with leaf => [] | node l x r => flat l ++ x :: flat r end.
Fixpoint add (x : nat) (t : tree) : tree :=
  match t with
  | leaf => node leaf x leaf
  | node l y r => if x <=? y then node (add x l) y r else node l y (add x r)
  end.
Fixpoint raise (t : tree) : tree := match t with leaf => leaf | node l x r => node (raise l) (S x) (raise r) end.

(* induction *)
Theorem mirror_twice : forall t, mirror (mirror t) = t.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. rewrite IHl, IHr. reflexivity.
Qed.

(* induction *)
Theorem size_of_mirror : forall t, size (mirror t) = size t.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem height_of_mirror : forall t, height (mirror t) = height t.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem leaves_are_nodes_and_one : forall t, leaves t = size t + 1.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem height_below_size : forall t, height t <= size t.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. lia.
Qed.

(* induction *)
Theorem size_below_two_to_height : forall t, size t < 2 ^ height t.
Proof.
  induction t as [| l IHl x r IHr].
  - simpl. lia.
  - simpl size. simpl height. rewrite Nat.pow_succ_r'.
    assert (2 ^ height l <= 2 ^ Nat.max (height l) (height r)).
    { apply Nat.pow_le_mono_r; lia. }
    assert (2 ^ height r <= 2 ^ Nat.max (height l) (height r)).
    { apply Nat.pow_le_mono_r; lia. }
    lia.
Qed.

(* induction *)
Theorem length_of_flat : forall t, length (flat t) = size t.
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. rewrite app_length. simpl. lia.
Qed.

(* induction *)
Theorem flat_of_mirror : forall t, flat (mirror t) = rev (flat t).
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. rewrite rev_app_distr. simpl. rewrite IHl, IHr. rewrite <- app_assoc. reflexivity.
Qed.

(* induction *)
Theorem size_of_add : forall x t, size (add x t) = S (size t).
Proof.
  intros x t. induction t as [| l IHl y r IHr].
  - reflexivity.
  - simpl. destruct (x <=? y); simpl; lia.
Qed.

(* induction *)
Theorem added_is_there : forall x t, In x (flat (add x t)).
Proof.
  intros x t. induction t as [| l IHl y r IHr].
  - simpl. left. reflexivity.
  - simpl. destruct (x <=? y); simpl; apply in_or_app.
    + left. exact IHl.
    + right. right. exact IHr.
Qed.

(* induction *)
Theorem flat_of_raise : forall t, flat (raise t) = map S (flat t).
Proof.
  induction t as [| l IHl x r IHr].
  - reflexivity.
  - simpl. rewrite map_app. simpl. rewrite IHl, IHr. reflexivity.
Qed.
